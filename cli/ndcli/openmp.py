"""How torch's idle threads wait: GNU OpenMP lets them spin for milliseconds, on cores that others could use."""

from __future__ import annotations

import os

# Turns of a loop, about a third of a millisecond: more than lies between two operators of a network, and less than a
# call of a kernel. By default it is 300,000.
SPIN_COUNT = 20_000


def spin_briefly() -> bool:
    """Let OpenMP's threads go to sleep soon after their work; call it before torch is loaded.

    The kernels run on threads of their own between two forward passes. On the core of a spinning thread they take turns
    with it, and two threads are hardly faster than one.

    Returns
    -------
    bool
        Whether it was set: False where the environment says already how threads wait.
    """
    if {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & set(os.environ):
        return False
    os.environ["GOMP_SPINCOUNT"] = str(SPIN_COUNT)
    return True
