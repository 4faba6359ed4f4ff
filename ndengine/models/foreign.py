"""What is not our code: where its output goes, what it says when it fails, and networks in wrappers of torch's."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ndengine.errors import ModelError, NdengineError

LONGEST = 300  # characters of an error's own words
_OURS = Path(__file__).resolve().parents[1]
_SCRIPT = "The following operation failed in the TorchScript interpreter"


@contextmanager
def foreign_output() -> Iterator[None]:
    """Let what somebody's own code prints go to standard error meanwhile, that of its C libraries too.

    Standard output is for results: a line of torch.hub's in it, and ``--json`` is no JSON.
    """
    if sys.stdout is not None:
        with suppress(OSError, ValueError):
            sys.stdout.flush()
    try:
        saved = os.dup(1)
    except OSError:  # there is none
        saved = -1
    try:
        with suppress(OSError):
            os.dup2(2, 1)
        with redirect_stdout(sys.stderr):
            yield
    finally:
        _flush_c()  # what it has buffered was meant for now
        if saved >= 0:
            os.dup2(saved, 1)
            os.close(saved)


@cache
def _c_library() -> Any:
    try:
        return ctypes.CDLL(None)
    except (OSError, TypeError):  # Windows
        return None


def _flush_c() -> None:
    library = _c_library()
    if library is not None:
        library.fflush(None)


def is_foreign(error: BaseException) -> bool:
    """Whether an error that ended somebody's own code is its own: neither ours nor the user's Ctrl-C.

    A network may end in anything (SystemExit is a script's way to stop); what was raised by a function of ours that
    the interpreter ran meanwhile, such as one for a signal, passes through.
    """
    if isinstance(error, KeyboardInterrupt | GeneratorExit | NdengineError):
        return False
    if isinstance(error, Exception):
        return True
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    file = Path(trace.tb_frame.f_code.co_filename) if trace is not None else _OURS
    return not (file.is_relative_to(_OURS) or file.parent.name == "ndcli")


def said(error: BaseException) -> str:
    """The class of an error, and its own words in one line."""
    kind = type(error).__name__
    try:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    except Exception:  # a class of somebody's own, with a __str__ that fails
        lines = []
    if not lines:
        return kind
    line = lines[-1] if lines[0].startswith(_SCRIPT) else lines[0]
    line = "".join(char if char.isprintable() else " " for char in line).rstrip(". ")
    return f"{kind}: {line if len(line) <= LONGEST else line[:LONGEST] + '…'}"


def is_scripted(module: object) -> bool:
    """Whether a module is TorchScript: it runs, but takes no hooks."""
    return isinstance(module, torch.jit.ScriptModule)


def unwrap_network(network: object, model: str) -> nn.Module:
    """The network in what a factory returned: without the wrappers of torch.compile and DataParallel.

    Parameters
    ----------
    network : object
        What the factory returned.
    model : str
        What errors call it.

    Returns
    -------
    nn.Module
        Its parts, too, are those that torch.compile was given, for a compiled one shows nobody what it does.

    Raises
    ------
    ModelError
        If it is no network, or one that shows nobody what is inside.
    """
    if isinstance(network, torch.export.ExportedProgram):
        raise ModelError(
            f"{model} gives an exported program, which has no modules to look at; let the factory return "
            "torch.export.unflatten(program), which has."
        )
    network = _plain(network)
    if not isinstance(network, nn.Module):
        kind = type(network).__name__
        raise ModelError(f"{model} gives {kind}; a factory must return a torch.nn.Module.")
    if is_scripted(network):
        raise ModelError(
            f"{model} gives a TorchScript program, whose layers can't be looked at, for it takes no hooks; give the "
            "network's Python code, and its state dict as --weights."
        )
    for part in list(network.modules()):
        if is_scripted(part):
            continue
        part._compiled_call_impl = None  # of part.compile()
        for name, child in list(part.named_children()):
            plain = _plain(child)
            if plain is not child:
                part._modules[name] = plain
    return network


def _plain(network: Any) -> Any:
    wrapped = (nn.DataParallel, nn.parallel.DistributedDataParallel)
    while True:
        if type(network).__name__ == "OptimizedModule" and isinstance(network, nn.Module):  # of torch.compile
            network = network._modules["_orig_mod"]
        elif isinstance(network, wrapped):
            network = network.module
        else:
            return network


def settle_network(network: nn.Module, model: str) -> None:
    """Bring a network to the CPU, to float32 and to evaluation mode, without gradients.

    Raises
    ------
    ModelError
        If it has tensors without values, or does not let itself be brought there.
    """
    named = (*network.named_parameters(), *network.named_buffers())
    hollow = [name for name, tensor in named if tensor.is_meta]
    if hollow:
        raise ModelError(
            f"{model} has parameters without values, on the device meta ({', '.join(hollow[:3])}); let the factory "
            "give it some (network.to_empty(device='cpu'), then its weights)."
        )
    try:
        network.cpu().float()
        network.eval()
        network.requires_grad_(False)
    except NotImplementedError as error:
        if "eval()" not in str(error):
            raise ModelError(f"{model} can't be made ready ({said(error)}); let the factory return another.") from error
        raise ModelError(
            f"{model} gives the module of an exported program, which can't be put in evaluation mode and has no "
            "modules to look at; let the factory return torch.export.unflatten(program)."
        ) from error
    except Exception as error:  # a class of somebody's own may object to anything
        raise ModelError(
            f"{model} can't be brought to the CPU, to float32 and to evaluation mode ({said(error)}); let the factory "
            "return a network that can."
        ) from error
