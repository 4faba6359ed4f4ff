"""The experiments of the paper in small: networks that are trained here, dissected on the built-in scenes."""

from __future__ import annotations

from ndengine.experiments.chapters import EXPERIMENTS, Experiment
from ndengine.experiments.findings import Finding
from ndengine.experiments.paper import Chapter, Paper, reproduce_paper

__all__ = ["EXPERIMENTS", "Chapter", "Experiment", "Finding", "Paper", "reproduce_paper"]
