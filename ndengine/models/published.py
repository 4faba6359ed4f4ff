"""The weights that torchvision publishes: which file is one of them, and what its networks need besides."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ndengine.models.download import download, expected_digits, hash_file, is_intact
from ndengine.models.weights import State
from ndengine.progress import Progress


def edition_of(editions: Any, sha256: str) -> Any:
    """The edition of published weights that a file with this checksum is, whatever it is called; else None."""
    names = {edition: edition.url.rpartition("/")[2] for edition in editions}
    return next((e for e, name in names.items() if sha256 and expected_digits(name) and is_intact(name, sha256)), None)


def fetch_published(url: str, cache: Path, progress: Progress) -> tuple[Path, str]:
    """The published file, from where torch itself has put it if it has."""
    theirs = Path(torch.hub.get_dir(), "checkpoints", url.rpartition("/")[2])
    if theirs.is_file():
        digest = hash_file(theirs)
        if is_intact(theirs.name, digest):
            return theirs, digest
    return download(url, cache / "weights", progress)


@contextmanager
def state_dict_of(published: Any, state: State) -> Iterator[None]:
    """Let torchvision's builder take these tensors for the published ones: it would fetch and unpickle its own way.

    The builder is still what loads them, for it knows what a network with published weights needs besides.
    """
    vars(published)["get_state_dict"] = lambda *arguments, **named: state
    try:
        yield
    finally:
        del vars(published)["get_state_dict"]


def transform_as_published(module: nn.Module, state: State | None, name: str) -> tuple[str, ...]:
    """Let GoogLeNet and Inception transform their input where a file's weights are the published ones, saved again.

    torchvision ported those from TensorFlow, and its builders set ``transform_input`` with them, for their images are
    prepared otherwise. A file has no trace of that but one: every step of a training in torch counts in batch norm's
    ``num_batches_tracked``, and nothing else does.

    Returns
    -------
    tuple of str
        What was assumed.
    """
    if state is None or not hasattr(module, "transform_input"):
        return ()
    counters = [tensor for key, tensor in state.items() if key.endswith("num_batches_tracked")]
    if any(bool((counter > 0).any()) for counter in counters if not counter.is_meta):
        return (
            f"These weights of {name} were trained in torch (num_batches_tracked is above 0): they are taken not to "
            "need transform_input, which the published ones do; if they were trained on from those, give --mean "
            "0.5,0.5,0.5 --std 0.5,0.5,0.5, which does the same.",
        )
    module.transform_input = True  # type: ignore[assignment]
    return (
        f"These weights of {name} were not trained in torch (num_batches_tracked counts nothing): they are taken for "
        "the published ones, which need transform_input; if they are others, give a factory that builds the network "
        "without it.",
    )
