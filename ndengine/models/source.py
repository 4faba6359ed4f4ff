"""What every source of networks is asked for, and what it gives."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from ndengine.models.caffe.caffemodel import Blobs
from ndengine.models.preprocess import ASSUMED, Preprocessing
from ndengine.models.weights import State


@dataclass(frozen=True)
class Asked:
    """What was asked for as weights, read where it is a file.

    Attributes
    ----------
    text : str
        ``default``, ``random``, ``none`` (an architecture alone) or the file.
    state : dict or None
        The file's tensors by name.
    blobs : dict or None
        Where it is a caffemodel, the file's tensors by layer; what they are called depends on the network.
    sha256 : str
        The file's checksum.
    """

    text: str
    state: State | None = None
    blobs: Blobs | None = None
    sha256: str = ""


@dataclass(frozen=True)
class Built:
    """A network as its source gives it.

    Attributes
    ----------
    module : nn.Module
    weights : str
        Where its weights come from, for people.
    sha256 : str
        Checksum of its weights where they are those that were asked for; empty where a file is yet to be fitted.
    preprocessing : Preprocessing
    default_layers : tuple of str
        What to dissect where nothing is asked for.
    size : tuple of int or None
        Rows and columns of the input that it was made for.
    fixed_size : bool
        Whether it gets images of that size unless another is asked for, whatever the size of the dataset's.
    file_sha256 : str
        Checksum of the file that defines it; empty where that is code.
    state : dict or None
        Tensors that are yet to be fitted to it, where they are not those that were asked for by file.
    rotate : float or None
        The power of the rotation that the benchmark puts its units through; None for none.
    rotate_seed : int or None
        Seed of that rotation.
    listed : str
        What `ndengine layers --model` takes to list its layers; empty where that is what the network is called.
    notes : tuple of str
        What had to be assumed about it, as sentences.
    """

    module: nn.Module
    weights: str
    sha256: str = ""
    preprocessing: Preprocessing = ASSUMED
    default_layers: tuple[str, ...] = ()
    size: tuple[int, int] | None = None
    fixed_size: bool = False
    file_sha256: str = ""
    state: State | None = None
    rotate: float | None = None
    rotate_seed: int | None = None
    listed: str = ""
    notes: tuple[str, ...] = ()
