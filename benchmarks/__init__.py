"""Benchmarks: equality with the definition first, then times against baselines measured in the same process."""
