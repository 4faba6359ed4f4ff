"""Import torchvision, also where its build does not match torch's."""

from __future__ import annotations

import importlib
import sys
from functools import cache
from types import ModuleType
from typing import Any

import torch

from ndengine.errors import ModelError

_KEPT: list[torch.library.Library] = []  # torch forgets the operators of a library that is dropped


@cache
def torchvision_models() -> ModuleType:
    """The module ``torchvision.models``.

    torchvision registers its compiled operators for detection when it is imported, and that fails where they
    were built for another torch ("operator torchvision::nms does not exist"). No network that can be
    dissected needs them, so they are declared without an implementation and the import is tried again.

    Raises
    ------
    ModelError
        If torchvision is missing or can't be imported for another reason.
    """
    try:
        return importlib.import_module("torchvision.models")
    except ImportError as error:
        raise ModelError(f"torchvision can't be imported ({error}); install it with pip.") from error
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise ModelError(
                f"torchvision can't be imported ({error}); install the one that matches torch {torch.__version__}."
            ) from error
    library: Any = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _KEPT.append(library)
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    return importlib.import_module("torchvision.models")
