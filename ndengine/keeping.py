"""What becomes of a run that ends before its time: its spools are kept, and it says where it goes on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from ndengine.errors import Interruption, NdengineError, SpoolError
from ndengine.progress import Progress
from ndengine.settings import SpoolKind
from ndengine.spool import Spool

LARGE = 1 << 28  # bytes that take a moment to write


@contextmanager
def keeping(spools: Sequence[Spool], kind: SpoolKind, images: int, progress: Progress) -> Iterator[None]:
    """Write spools to the disk where something ends the run inside, so that the same command goes on from there.

    Parameters
    ----------
    spools : sequence of Spool
        Those of all layers.
    kind : str
        What ``--spool`` says.
    images : int
        N of the whole run.
    progress : Progress
        Told how much is kept, except of an interruption, whose exception says it.

    Raises
    ------
    Interruption
        In place of a KeyboardInterrupt.
    """
    try:
        yield
    except BaseException as error:
        reached = min(spool.images for spool in spools)
        refused = "" if isinstance(error, SpoolError) else _keep(spools, progress)
        kept = min(spool.kept for spool in spools)
        if isinstance(error, KeyboardInterrupt):
            raise Interruption(_sentence(reached, kept, images, kind, refused)) from None
        if kept:
            _tell(progress, f"{_place(kept, images)} is where the same command goes on: what lies before it is kept.")
        raise


def _keep(spools: Sequence[Spool], progress: Progress) -> str:
    """Write spools out; gives why that could not be done, if it could not."""
    if sum(spool.nbytes for spool in spools) >= LARGE:
        _tell(progress, "The run ends; what it has is written to the disk first.")
    try:
        for spool in spools:
            spool.keep()
    except NdengineError as error:
        return str(error)
    except Exception as error:  # no memory, say: what ended the run is the better thing to tell
        return f"What there was could not be kept ({type(error).__name__})."
    return ""


def _tell(progress: Progress, sentence: str) -> None:
    with suppress(OSError):  # a terminal that has been closed takes nothing
        progress.note(sentence)


def _sentence(reached: int, kept: int, images: int, kind: SpoolKind, refused: str) -> str:
    where = f"Interrupted at {_at(reached, images)}"
    if kind in ("memory", "dense"):
        return f"{where}; --spool {kind} keeps nothing, so the same command begins anew."
    if not kept:
        return f"{where}; nothing is kept, and the same command begins anew. {refused}".strip()
    if kept < reached:
        return f"{where}; the same command goes on at {_at(kept, images)}. {refused}".strip()
    return f"{where}; the same command goes on there."


def _place(image: int, images: int) -> str:
    text = _at(image, images)
    return text[0].upper() + text[1:]


def _at(image: int, images: int) -> str:
    return f"image {image:,} of {images:,}" if image < images else f"the last of {images:,} images"


def resumed_note(start: int, images: int) -> str:
    """What a run says that takes up an interrupted one."""
    if start < images:
        return f"The run goes on at {_at(start, images)}, where it was interrupted."
    return f"All {images:,} images had gone through the network when the run was interrupted; it goes on there."
