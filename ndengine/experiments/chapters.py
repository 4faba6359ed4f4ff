"""The paper's experiments, as they are repeated here: each is a series that ships, and what is looked for in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ndengine.errors import SettingsError
from ndengine.experiments import findings
from ndengine.experiments.findings import Find
from ndengine.series import Series, read_series

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Experiment:
    """An experiment of the paper in small.

    Attributes
    ----------
    name : str
        What ``--only`` takes, and the folder of its results.
    title : str
        Heading.
    about : str
        What is done.
    finders : tuple of (str, function)
        The findings that are looked for: what each is about, and the function that compares.
    """

    name: str
    title: str
    about: str
    finders: tuple[tuple[str, Find], ...]

    @property
    def file(self) -> Path:
        """The series file, which ``ndengine sweep`` takes too."""
        return HERE / f"{self.name}.toml"

    def series(self, instead: Mapping[str, Any] | None = None) -> Series:
        """Its runs; ``instead`` has options in place of the file's."""
        return read_series(self.file, instead)


EXPERIMENTS: tuple[Experiment, ...] = (
    Experiment(
        "layers",
        "Trained and untrained, layer by layer",
        "All five layers of a network that was trained to tell what scenes show, and of the same network untrained.",
        (("Categories by layer", findings.kinds_by_layer), ("Training", findings.training_matters)),
    ),
    Experiment(
        "rotation",
        "Rotation",
        "The activations of conv5 are put through the power α of a random rotation, from three seeds, before they are "
        "dissected: α = 0 leaves them, α = 1 rotates them fully.",
        (("Rotation", findings.rotation_takes_away),),
    ),
    Experiment(
        "iterations",
        "Training iterations",
        "Snapshots of one training, from its first weights to its last step.",
        (("Detectors over time", findings.detectors_emerge), ("Categories over time", findings.categories_stay)),
    ),
    Experiment(
        "conditions",
        "Seeds, batch norm, dropout and width",
        "The base network from four seeds, and networks that differ from it in one thing: no batch norm; dropout of "
        "one half before the last layer; 256 units in conv5 instead of 128. All have global pooling.",
        (
            ("Seeds", findings.seeds_are_alike),
            ("Batch norm", findings.norm_lowers),
            ("Dropout", findings.dropout_shifts),
            ("Width", findings.width_adds),
        ),
    ),
    Experiment(
        "supervision",
        "Learning without labels",
        "Three tasks that need no labels: by how many quarter turns a scene has been turned, how its quarters have "
        "been shuffled, and which colours it has where it is shown in grey. They are learned from the same scenes for "
        "as long.",
        (("Labels", findings.labels_matter), ("Textures and objects", findings.textures_alone)),
    ),
)


def choose_experiments(names: tuple[str, ...]) -> tuple[Experiment, ...]:
    """The experiments of these names, in the paper's order; all where there are none.

    Raises
    ------
    SettingsError
        If a name is unknown.
    """
    known = [experiment.name for experiment in EXPERIMENTS]
    for name in names:
        if name not in known:
            raise SettingsError(f"There is no experiment {name!r}; use {', '.join(known)}.")
    return tuple(experiment for experiment in EXPERIMENTS if not names or experiment.name in names)
