"""Exact counting kernels for unit dissection: upsample, threshold, intersect with labels, count.

Arrays in, arrays out; nothing here knows of files, models or command lines, so any attribution tool can
use it:

- :mod:`ndkernels.grid`: where activation samples sit on the label grid; ``make_grid``, ``mask_maps``
- :mod:`ndkernels.labels`: label maps as pixel codes; ``encode_labels``, ``decode_labels``, ``count_concepts``
- :mod:`ndkernels.sieve`: the few activations that can matter, and exact quantiles; ``Sieve``,
  ``select_thresholds``
- :mod:`ndkernels.tally`: the counts; ``tally_units``
- :mod:`ndkernels.pixels`: bytes to a network's input; ``look_up_pixels``
- :mod:`ndkernels.rotate`: maps seen along other axes; ``Rotation``
- :mod:`ndkernels.paint`: pictures of what units see; ``shrink_images``, ``paint_masks``

Every op is a folder of the same files: ``naive.py`` is the definition in NumPy, ``cpu.py`` and ``gpu.py`` the same
integers fast (pictures are painted on a CPU alone, and maps rotated by torch). Compilers (numba, triton) are loaded at
the first call, never at import.
"""
