"""Weight files: read them without running what is in them, and fit them to a network.

What must fit is what the layers asked for depend on: the parameters and buffers that a forward pass reads
before the deepest of them is done. A file may lack what lies behind, or have another shape there, and it may
hold parts that the network does not have, unless they stand inside what has been passed by then: there they
say that the file is another network's.
"""

from __future__ import annotations

import hashlib
import pickle
import re
import struct
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ndengine.errors import ModelError
from ndengine.models.caffe.options import short
from ndengine.models.checkpoints import Checkpoint, check_values, choose_state
from ndengine.models.layers import Layer
from ndengine.models.regular import is_irregular
from ndengine.models.trace import Trace

SUFFIXES = (".pth", ".pt", ".pth.tar", ".bin", ".ckpt", ".safetensors")
BOOKKEEPING = {"num_batches_tracked", "total_ops", "total_params"}  # never read by a forward pass
SHOWN = 5  # keys named in an error
LONGEST = 120  # characters of each

# What torch.load raises on files that are cut off, overwritten or something else.
_UNREADABLE = (
    RuntimeError,
    pickle.UnpicklingError,
    struct.error,
    EOFError,
    OSError,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    AssertionError,
    OverflowError,
    MemoryError,
)

State = dict[str, Tensor]


def read_weights(path: Path) -> State:
    """The tensors in a weights file, by name: a :class:`ndengine.models.checkpoints.Checkpoint`.

    Parameters
    ----------
    path : Path
        A state dict, or a checkpoint with one in it, written by torch.save (now or long ago) or as
        safetensors.

    Raises
    ------
    ModelError
        If the file is missing, of another kind, damaged, or holds code instead of tensors.
    """
    if not path.name.lower().endswith(SUFFIXES):
        raise ModelError(
            f"{path} is no weights file by its name; use default, random or a file that ends in {', '.join(SUFFIXES)} "
            "or, for a Caffe network, .caffemodel."
        )
    if not path.is_file():
        what = "is no regular file" if is_irregular(path) else "does not exist"
        raise ModelError(f"{path} {what}; give --weights an existing file, default or random.")
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    state = Checkpoint(content, path)
    if not state:
        raise ModelError(f"{path} holds no state dict; write one with torch.save(network.state_dict(), {path.name!r}).")
    return state


def _read_safetensors(path: Path) -> Any:
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise _damaged(path, error) from None


def _read_pickle(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of archives that it then refuses
            # latin1 reads the strings of files written by Python 2, and changes nothing in others.
            return torch.load(path, map_location="cpu", weights_only=True, encoding="latin1")
    except _UNREADABLE as error:
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        if found or "TorchScript" in str(error):
            what = f"an object of {found[1]}" if found else "a TorchScript program"
            raise ModelError(
                f"{path} holds {what}, which only running code from the file could rebuild; where it came from, write "
                "its weights alone with torch.save(network.state_dict(), FILE)."
            ) from None
        raise _damaged(path, error) from None


def _damaged(path: Path, error: Exception) -> ModelError:
    lines = str(error).strip().splitlines()
    reason = lines[0][:120].rstrip(". ") if lines else type(error).__name__
    return ModelError(f"{path} is damaged, incomplete or no weights file ({reason}); get it again.")


def fit_weights(
    module: nn.Module,
    state: State,
    trace: Trace,
    layers: Sequence[Layer],
    *,
    model_name: str,
    source: str,
    spare: Collection[str] | None = None,
) -> None:
    """Load weights into a network, as far as the layers asked for depend on them.

    Parameters
    ----------
    module : nn.Module
        The network; it is changed in place.
    state : dict
        Tensors by name; the marks of DataParallel and torch.compile, a prefix of all that the network needs, the
        names of torchvision's old DenseNets and the keys of checkpoints are understood.
    trace : Trace
        A forward pass of the network.
    layers : sequence of Layer
        The layers that must come out right; with none, the whole network is asked for.
    model_name, source : str
        What errors call the network and the weights.
    spare : collection of str, optional
        Given for a network whose layers stand side by side, as Caffe's do, where no part that a file has more is
        inside another one: those of its layers that are not built, which a file may have. All others are told by
        :func:`strange_layers`.

    Raises
    ------
    ModelError
        If tensors are missing, mis-shaped, unexpected or of a type that says nothing of their values; they are named.
        If the file has weights for the network more than once.
    """
    own: State = {k: v for k, v in module.state_dict(keep_vars=True).items() if isinstance(v, Tensor)}
    paths = [layer.path for layer in layers]
    target = f"{', '.join(layer.name for layer in layers)} of {model_name}" if layers else model_name
    needed = {key for key in (trace.needs(paths) if paths else own) if key.rpartition(".")[2] not in BOOKKEEPING}
    state = choose_state(state, own, needed, source)
    tied: dict[int, list[str]] = {}
    for key, tensor in own.items():
        tied.setdefault(id(tensor), []).append(key)
    complaint = f"{source} does not fit {target}"
    remedy = "use weights of this very architecture, or --weights random."
    if not state.keys() & own.keys():
        raise ModelError(f"{complaint}: it has {_some(list(state))}, the network {_some(list(own))}; {remedy}")
    missing = [k for k in own if k in needed and not state.keys() & set(tied[id(own[k])])]
    if missing:
        raise ModelError(f"{complaint}: it lacks {_some(missing)}; {remedy}")
    misshaped = [k for k, v in own.items() if k in state and state[k].shape != v.shape]
    wrong = [f"{k} {list(state[k].shape)} instead of {list(own[k].shape)}" for k in misshaped if k in needed]
    if wrong:
        raise ModelError(f"{complaint}: it has {_some(wrong)}; {remedy}")
    is_passed = _passed(module, trace, paths)
    strange = [k for k in state if k not in own and is_passed(k)]
    if spare is not None and not strange:
        groups = _by_layer(state)
        between = strange_layers(groups, list(_by_layer(own)), {key.rpartition(".")[0] for key in needed})
        strange = [layer for layer in between if layer not in spare]
    if strange:
        raise ModelError(f"{complaint}: it also has {_some(strange)}, for which the network has no place; {remedy}")
    fitting = {k: state[k] for k in own if k in state and k not in misshaped}
    module.load_state_dict(check_values(fitting, own, needed, complaint), strict=False)


def _by_layer(state: State) -> dict[str, list[Tensor]]:
    """Tensors by the part that has them; what belongs to none, or is never read, is left out."""
    groups: dict[str, list[Tensor]] = {}
    for key, tensor in state.items():
        owner, _, name = key.rpartition(".")
        if owner and name not in BOOKKEEPING:
            groups.setdefault(owner, []).append(tensor)
    return groups


def strange_layers(
    groups: Mapping[str, Sequence[Tensor]], known: Sequence[str], needed: Collection[str] | None = None
) -> list[str]:
    """Layers of a file that work on the way to what is asked for, in a network that lacks them.

    Those are layers in front of the first one that both have, and such as work channel by channel (batch norm, scales)
    before the last one or, where some are said to be needed, right behind the last of these. A convolution between two
    of them may well be an auxiliary classifier's. In a file that is not in the network's order only what works channel
    by channel can be told, wherever it stands.

    Parameters
    ----------
    groups : mapping of str to sequence of Tensor
        The file's tensors by layer, in its order.
    known : sequence of str
        The network's layers with tensors, in the order in which they run.
    needed : collection of str, optional
        Those of them that are needed; by default all.
    """
    turns = {layer: turn for turn, layer in enumerate(known)}
    both = [turns[layer] for layer in groups if layer in turns]
    last = max((i for i, layer in enumerate(groups) if layer in turns and (not needed or layer in needed)), default=-1)
    if last < 0:
        return []  # nothing of it fits, which is told with the names of both
    is_ordered = both == sorted(both)
    strange, begun, is_behind = [], False, False
    for place, (layer, tensors) in enumerate(groups.items()):
        begun = begun or layer in turns
        by_channel = all(max(tensor.shape, default=1) == tensor.numel() for tensor in tensors)
        is_behind = is_behind or (is_ordered and place > last and (layer in turns or not (needed and by_channel)))
        if layer not in turns and not is_behind and (by_channel or (is_ordered and not begun)):
            strange.append(layer)
    return strange


def _passed(module: nn.Module, trace: Trace, paths: Sequence[str]) -> Callable[[str], bool]:
    """What tells whether a tensor that the network lacks stands inside what the layers asked for have passed by.

    Then the file's network computes something else there (a bias more, a block more). A part behind the
    layers or beside them (another head, an auxiliary classifier) is none of our business.
    """
    modules = dict(module.named_modules(remove_duplicate=False))
    until = trace.end(paths) if paths else trace.end(trace.steps)

    @cache
    def begun(inside: str) -> int:
        """The last one of a row that has begun; -1 where none has."""
        row = [child for child, _ in modules[inside].named_children() if child.isdecimal()]
        ran = (int(child) for child in row if trace.state(f"{inside}.{child}".lstrip("."), until) != "untouched")
        return max(ran, default=-1)

    @cache
    def is_passed(owner: str) -> bool:
        inside, child = "", ""
        for part in owner.split(".") if owner else ():
            path = f"{inside}.{part}" if inside else part
            if path not in modules:
                child = part
                break
            inside = path
        state = trace.state(inside, until)
        if state == "running" and child.isdecimal():
            return int(child) < begun(inside)
        if state == "running":
            return not child
        return state == "done" and inside != ""

    def tells(key: str) -> bool:
        owner, _, name = key.rpartition(".")
        return name not in BOOKKEEPING and is_passed(owner)

    return tells


def hash_state(module: nn.Module) -> str:
    """SHA-256 over the names, types, shapes and bytes of all tensors in a network's state dict, as hex digits."""
    digest = hashlib.sha256()
    for key, value in sorted(module.state_dict().items()):
        if isinstance(value, Tensor):
            digest.update(f"{key} {value.dtype} {list(value.shape)}\n".encode())
            data = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
            digest.update(data.numpy().data)
    return digest.hexdigest()


def _some(items: Sequence[str]) -> str:
    more = f" and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
    return ", ".join(short(item, LONGEST) for item in items[:SHOWN]) + more
