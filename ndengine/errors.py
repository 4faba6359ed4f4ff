"""The errors that ndengine raises on purpose: one sentence each, naming the file or argument and the remedy."""

from __future__ import annotations

from pathlib import Path


class NdengineError(Exception):
    """An expected failure, worded for the person at the terminal.

    Attributes
    ----------
    exit_code : int
        What the command line exits with: 1, or 2 where the way of calling was wrong.
    """

    exit_code = 1


class SettingsError(NdengineError):
    """A setting that is not understood or does not go with another."""

    exit_code = 2


class SeriesError(SettingsError):
    """A series of runs that is not understood: its file, or the runs that it describes."""


class DatasetError(NdengineError):
    """A dataset that is missing, damaged or inconsistent."""


class UnusablePackError(DatasetError):
    """A packed dataset that is damaged or of an older format: what the cache gives up, unlike one that is in use.

    Attributes
    ----------
    path : Path or None
        The file.
    identity : tuple of int or None
        Its device and its number there, as it was opened: another file may have taken its place.
    older : bool
        Whether it is whole, but of an older format.
    """

    path: Path | None = None
    identity: tuple[int, int] | None = None
    older: bool = False


class ModelError(NdengineError):
    """A model, layer or weights file that can't be used, or activations that are not finite."""


class SpoolError(NdengineError):
    """A spool that is damaged, full or made with other settings."""


class UnusableSpoolError(SpoolError):
    """A spool of other settings, or a damaged one: what ``--overwrite`` gives up, unlike a disk that is full."""


class ResultError(NdengineError):
    """A result folder that is damaged, unfinished, in use or in the way."""


class FailedRunsError(NdengineError):
    """Runs of a series that failed while others went on."""


class Interruption(KeyboardInterrupt):
    """A run that was interrupted, and has kept what there was: it says where the same command goes on."""
