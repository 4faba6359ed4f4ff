"""Small networks that are trained here, on drawn scenes, to repeat the paper's experiments in small.

Each has a name that ``--model`` takes, such as ``small-wide``; its weights are made on first use and kept in the cache.
"""
