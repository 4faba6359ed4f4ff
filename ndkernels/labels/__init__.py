"""Label maps as pixel codes: the one encoding that is packed, stored and counted.

A pixel's *code* is the number, within its image, of the combination of labels that all maps of the image put
on it. Counting a mask is then one histogram over codes, whatever the number of maps; at the end of an image
the codes in it are expanded to concepts (Network Dissection, section 2.2: Broden's labels may overlap).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from operator import index
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ndkernels.arrays import Array, as_integers, as_numpy


@dataclass(frozen=True)
class LabelBlock:
    """The encoded labels of B images on one H×W grid.

    Image b owns the combinations ``code_start[b] : code_start[b + 1]``, combination r the entries
    ``entry_start[r] : entry_start[r + 1]``. Concept ids run from 1; 0, "none", is stored nowhere.

    Attributes
    ----------
    codes : Tensor
        ``[B, H, W]`` uint16 (int32 on grids of more than 65,536 pixels): each pixel's combination, numbered
        from 0 within its image in the order in which a row-by-row scan meets them.
    code_start : Tensor
        ``[B + 1]`` int64.
    code_area : Tensor
        ``[R]`` int64: pixels of each combination.
    entry_start : Tensor
        ``[R + 1]`` int64.
    entry_concept, entry_times : Tensor
        ``[E]`` int32 and uint8: the concepts of a combination in ascending order, and how many maps say so.
    whole_start : Tensor
        ``[B + 1]`` int64: image b's whole-image labels are ``whole_start[b] : whole_start[b + 1]``.
    whole_concept, whole_times : Tensor
        ``[L]`` int32 and uint8: whole-image labels in ascending order, and how often each is given.
    """

    codes: Tensor
    code_start: Tensor
    code_area: Tensor
    entry_start: Tensor
    entry_concept: Tensor
    entry_times: Tensor
    whole_start: Tensor
    whole_concept: Tensor
    whole_times: Tensor

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def shape(self) -> tuple[int, int]:
        """H and W."""
        return self.codes.shape[1], self.codes.shape[2]

    def to(self, device: torch.device | str) -> LabelBlock:
        """The same on a device."""
        return LabelBlock(*(t.to(device) for t in tensors(self)))


def code_dtype(shape: tuple[int, int]) -> type[np.uint16] | type[np.int32]:
    """The type of pixel codes on an H×W grid: as many combinations as pixels must fit."""
    return np.uint16 if shape[0] * shape[1] <= 65536 else np.int32


def encode_labels(
    maps: Sequence[Array],  # B times [M_b, H, W]
    whole: Sequence[Sequence[int] | Array],  # B times whole-image labels
    shape: tuple[int, int],
) -> LabelBlock:
    """Encode the labels of B images.

    Parameters
    ----------
    maps : sequence of ndarray or Tensor
        For each image its label maps ``[M_b, H, W]`` of any integer type (M_b may be 0), ids from 0 ("none").
    whole : sequence of sequence of int, ndarray or Tensor
        For each image the labels that cover it whole; 0 is dropped.
    shape : tuple of int
        H and W.

    Returns
    -------
    LabelBlock

    Raises
    ------
    ValueError
        If a map has another shape, an id is no integer from 0 to 2^31 - 1, or an image has more than 255 maps
        or whole-image labels.
    """
    from ndkernels.labels import cpu

    stacks = [as_numpy(f"label maps of image {b}", stack) for b, stack in enumerate(maps)]
    marks = [_whole_labels(b, labels) for b, labels in enumerate(whole)]
    for b, stack in enumerate(stacks):
        if stack.ndim != 3 or stack.shape[1:] != tuple(shape):
            raise ValueError(f"label maps of image {b} must be [M, {shape[0]}, {shape[1]}], not {list(stack.shape)}")
        if stack.dtype.kind not in "iu":
            raise ValueError(f"label maps of image {b} must hold integers, not {stack.dtype}")
        # What 32 bits hold is checked on the way.
        if stack.dtype.itemsize > 4 and stack.size and not 0 <= stack.min() <= stack.max() <= np.iinfo(np.int32).max:
            raise ValueError(f"label maps of image {b} hold an id outside 0 … 2^31 - 1")
        if len(stack) > 255:
            raise ValueError(f"image {b} has more than 255 label maps")
    return assemble(cpu.encode(stacks, shape, code_dtype(shape)), marks, shape)


def _whole_labels(image: int, labels: Sequence[int] | Array) -> list[int]:
    try:
        return [index(label) for label in labels]
    except TypeError:
        raise ValueError(f"whole-image labels of image {image} must be integers") from None


def assemble(
    parts: Sequence[tuple[NDArray[Any], ...]],
    whole: Sequence[Sequence[int]],
    shape: tuple[int, int],
) -> LabelBlock:
    """Join the images' own tables (codes, area, entry counts, concepts, times) into one block.

    Raises
    ------
    ValueError
        If the images of both lists are not as many, or whole-image labels are out of range.
    """
    if len(parts) != len(whole):
        raise ValueError(f"label maps of {len(parts)} images, but whole-image labels of {len(whole)}")
    for b, image in enumerate(whole):
        if len(image) > 255:
            raise ValueError(f"image {b} has more than 255 whole-image labels")
        if any(not 0 <= c <= np.iinfo(np.int32).max for c in image):
            raise ValueError(f"whole-image labels of image {b} hold an id outside 0 … 2^31 - 1")
    codes = np.stack([p[0] for p in parts]) if parts else np.zeros((0, *shape), code_dtype(shape))
    marks = [sorted(Counter(c for c in image if c != 0).items()) for image in whole]
    return LabelBlock(
        codes=torch.from_numpy(codes),
        code_start=_starts([len(p[1]) for p in parts]),
        code_area=_join([p[1] for p in parts], np.int64),
        entry_start=_starts(np.concatenate([p[2] for p in parts]) if parts else []),
        entry_concept=_join([p[3] for p in parts], np.int32),
        entry_times=_join([p[4] for p in parts], np.uint8),
        whole_start=_starts([len(image) for image in marks]),
        whole_concept=torch.tensor([concept for image in marks for concept, _ in image], dtype=torch.int32),
        whole_times=torch.tensor([times for image in marks for _, times in image], dtype=torch.uint8),
    )


def decode_labels(block: LabelBlock) -> tuple[list[NDArray[np.int32]], list[list[int]]]:
    """The inverse of :func:`encode_labels`, up to the order of the maps.

    Returns
    -------
    maps : list of ndarray
        For each image ``[M_b, H, W]`` int32: as few maps as hold its labels.
    whole : list of list of int
        For each image its whole-image labels, one as often as it is given.
    """
    from ndkernels.labels import naive

    return naive.decode(block)


def count_concepts(block: LabelBlock, concepts: int, *, once: bool) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Area of every concept, and the images that carry it.

    Parameters
    ----------
    block : LabelBlock
        B images.
    concepts : int
        C, the highest concept id.
    once : bool
        Whether a concept given twice at a pixel counts there once.

    Returns
    -------
    area : ndarray
        ``[C]`` int64 pixels; column j is concept j + 1.
    present : ndarray
        ``[B, C]`` bool: whether a pixel or a whole-image label has it.

    Raises
    ------
    ValueError
        If the block holds a concept above C.
    """
    check_concepts(block, concepts)
    code_area, entry_start, entry_concept, entry_times = (
        t.numpy() for t in (block.code_area, block.entry_start, block.entry_concept, block.entry_times)
    )
    images = np.repeat(np.arange(len(block)), np.diff(block.code_start.numpy()))  # image of each combination
    rows = np.repeat(np.arange(len(code_area)), np.diff(entry_start))  # combination of each entry
    whole_image = np.repeat(np.arange(len(block)), np.diff(block.whole_start.numpy()))
    whole_concept = block.whole_concept.numpy()
    present = np.zeros((len(block), concepts + 1), np.bool_)
    present[whole_image, whole_concept] = True
    times = entry_times.astype(np.int64)
    whole_times = block.whole_times.numpy().astype(np.int64)
    if once:
        # A whole-image label already covers every pixel of its concept.
        times = np.where(present[images[rows], entry_concept], 0, 1)
        whole_times = np.ones_like(whole_times)
    area = np.zeros(concepts + 1, np.int64)
    np.add.at(area, entry_concept, times * code_area[rows])
    np.add.at(area, whole_concept, whole_times * (block.shape[0] * block.shape[1]))
    present[images[rows], entry_concept] = True
    return area[1:], present[:, 1:]


def carried_categories(block: LabelBlock, category: Array, categories: int) -> NDArray[np.bool_]:
    """Which categories each image carries a label of, on a pixel or as a whole.

    Parameters
    ----------
    block : LabelBlock
        B images.
    category : ndarray or Tensor
        ``[C]`` integers: the primary category of concept j + 1, or -1.
    categories : int
        K.

    Returns
    -------
    ndarray
        ``[B, K]`` bool.
    """
    category = as_integers("category", category).cpu().numpy()
    rows = np.repeat(np.arange(len(block.code_area)), np.diff(block.entry_start.numpy()))
    images = np.repeat(np.arange(len(block)), np.diff(block.code_start.numpy()))
    whole_image = np.repeat(np.arange(len(block)), np.diff(block.whole_start.numpy()))
    # The last column takes concepts without a category.
    carried = np.zeros((len(block), categories + 1), np.bool_)
    carried[images[rows], category[block.entry_concept.numpy() - 1]] = True
    carried[whole_image, category[block.whole_concept.numpy() - 1]] = True
    return carried[:, :categories]


def check_concepts(block: LabelBlock, concepts: int) -> None:
    """Raise ValueError if a block holds a concept id above ``concepts``."""
    highest = max(int(t.max()) if len(t) else 0 for t in (block.entry_concept, block.whole_concept))
    if highest > concepts:
        raise ValueError(f"the labels hold concept {highest}, above the highest expected one, {concepts}")


def tensors(block: LabelBlock) -> tuple[Tensor, ...]:
    """The block's tensors in the order of its attributes, as ops take them."""
    return tuple(getattr(block, f.name) for f in fields(block))


def _join(arrays: Sequence[NDArray[Any]], dtype: Any) -> Tensor:
    return torch.from_numpy(np.concatenate([np.zeros(0, dtype), *arrays]).astype(dtype, copy=False))


def _starts(lengths: Any) -> Tensor:
    return torch.from_numpy(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))
