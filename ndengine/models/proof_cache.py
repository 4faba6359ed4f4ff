"""Proofs of layers that were given before, kept in the cache folder by the network's fingerprint.

A fingerprint covers what decides the outcome: the network's parts and their code, the names and shapes of its tensors,
its buffers, the first trace, the input size, the version of torch and the code of the proof itself. Code that can't be
read has no fingerprint, and its proof is given anew.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import torch
from torch import nn

from ndengine.models.readings import Reading
from ndengine.models.trace import Trace

FORMAT = 1
FOLDER = "proofs"

Key = tuple[str, int, str]  # path, call and part of an output


def fingerprint(module: nn.Module, trace: Trace, size: tuple[int, int], channels: int) -> str | None:
    """A checksum of all that a proof depends on, as hex digits; None where the network's code can't be read.

    Parameters
    ----------
    module : nn.Module
    trace : Trace
        Its first trace.
    size : tuple of int
        Rows and columns of its input.
    channels : int
        Channels of its input.
    """
    digest = hashlib.sha256()
    digest.update(f"{FORMAT} {torch.__version__} {size} {channels}\n{module!r}\n".encode())
    files = {str(file) for file in Path(__file__).parent.glob("*.py")}
    sources = set()
    for kind in {type(part) for part in module.modules()}:
        source = getattr(sys.modules.get(kind.__module__), "__file__", None)
        if source is None or "<locals>" in kind.__qualname__:
            return None
        sources.add(source)
    files |= _code_beside(sources)
    try:
        for file in sorted(files):
            digest.update(f"{file}\n".encode())
            digest.update(Path(file).read_bytes())
    except OSError:
        return None
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
    for tensor in module.buffers():
        if tensor.device.type != "meta":
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    for path, step in trace.steps.items():
        digest.update(f"{path} {step.start} {step.end} {step.outputs}\n".encode())
    return digest.hexdigest()


def _code_beside(sources: set[str]) -> set[str]:
    """The files of classes; of somebody's own code, all loaded modules of its folder too, which may take part."""
    own = {os.path.dirname(os.path.abspath(file)) + os.sep for file in sources if not _is_installed(file)}
    loaded = (getattr(module, "__file__", None) for module in list(sys.modules.values())) if own else ()
    return sources | {file for file in loaded if file and os.path.abspath(file).startswith(tuple(own))}


def _is_installed(file: str) -> bool:
    package = Path(__file__).parents[1]  # this one may be run from its source tree
    return not {"site-packages", "dist-packages"}.isdisjoint(Path(file).parts) or Path(file).is_relative_to(package)


def recall(cache: Path, key: str) -> dict[Key, Reading] | None:
    """The readings that were proven before; None where there are none, or the file is damaged."""
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        content = json.loads((cache / FOLDER / f"{key}.json").read_text())
        if content["sha256"] == _checksum(content["outputs"]):
            return {
                (path, call, part): Reading(**{k: _tupled(v) for k, v in reading.items()})
                for path, call, part, reading in content["outputs"]
            }
    return None


def remember(cache: Path, key: str, readings: dict[Key, Reading]) -> None:
    """Keep proven readings; where the folder can't be written, the next run proves them again."""
    outputs = json.loads(json.dumps([[*which, asdict(reading)] for which, reading in readings.items()]))
    folder = cache / FOLDER
    with suppress(OSError):
        folder.mkdir(exist_ok=True)  # in a cache folder that is there; none is made for this
        with NamedTemporaryFile("w", dir=folder, suffix=".part", delete=False) as file:
            json.dump({"sha256": _checksum(outputs), "outputs": outputs}, file)
        os.replace(file.name, folder / f"{key}.json")


def _checksum(outputs: Any) -> str:
    return hashlib.sha256(json.dumps(outputs, sort_keys=True).encode()).hexdigest()


def _tupled(value: Any) -> Any:
    return tuple(map(_tupled, value)) if isinstance(value, list) else value
