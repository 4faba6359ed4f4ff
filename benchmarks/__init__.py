"""Benchmarks: equality with the definition first, then times against baselines measured in the same process."""

from ndcli.openmp import spin_briefly

spin_briefly()  # as the command does, before torch is loaded
