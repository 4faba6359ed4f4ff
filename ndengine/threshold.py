"""Exact thresholds from a spool (paper, section 2.1: the top quantile of each unit's activations)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ndengine.spool import Spool
from ndkernels.sieve import select_thresholds


def find_thresholds(spool: Spool, above: int, *, threads: int = 1) -> NDArray[np.float32]:
    """Select every unit's threshold, and drop what it rules out from the spool.

    Parameters
    ----------
    spool : Spool
        Activations of all images.
    above : int
        m = floor(q·n): how many of a unit's n activations may exceed its threshold.
    threads : int
        Threads to count with, on a CPU.

    Returns
    -------
    ndarray
        ``[U]`` float32: the (m+1)-th largest activation of each unit.
    """
    thresholds = select_thresholds(spool.survivors, spool.bound, above, threads=threads)
    spool.compact(thresholds)
    return thresholds.cpu().numpy()
