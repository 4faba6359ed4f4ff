"""Import torchvision, also where its build does not match torch's."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from functools import cache
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import torch

from ndengine.errors import ModelError

_KEPT: list[torch.library.Library] = []  # torch forgets the operators of a library that is dropped


def repair_torchvision() -> None:
    """Let torchvision be imported by whoever does it from now on: we, timm, transformers, or a user's own file.

    torchvision registers its compiled operators for detection when it is imported, and that fails where they
    were built for another torch ("operator torchvision::nms does not exist"). No network that can be
    dissected needs them, so they are declared without an implementation and the import is tried again.

    Nothing is imported here, so it costs nothing where no torchvision is needed; and nothing is declared before the
    import has failed, for a build that does match would not bear it.
    """
    if "torchvision" not in sys.modules and not any(isinstance(finder, _Repair) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Repair())


class _Repair(MetaPathFinder):
    """Finds torchvision where the others do, with a loader that has a second try."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "torchvision":
            return None
        others: list[Any] = [finder for finder in sys.meta_path if not isinstance(finder, _Repair)]
        found = (finder.find_spec(fullname, path, target) for finder in others if hasattr(finder, "find_spec"))
        spec: ModuleSpec | None = next((spec for spec in found if spec is not None), None)
        loader: Any = spec and spec.loader
        if loader is None:
            return spec
        execute = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            try:
                execute(module)
            except RuntimeError as error:
                if "torchvision::" not in str(error) or _KEPT:
                    raise
                _declare_operators()
                for name in [name for name in sys.modules if name.startswith("torchvision.")]:
                    del sys.modules[name]
                execute(module)

        loader.exec_module = exec_module  # of this loader, which was made for this spec
        return spec


def _declare_operators() -> None:
    library: Any = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _KEPT.append(library)


@cache
def torchvision_models() -> ModuleType:
    """The module ``torchvision.models``.

    Raises
    ------
    ModelError
        If torchvision is missing or can't be imported.
    """
    repair_torchvision()
    try:
        return importlib.import_module("torchvision.models")
    except ImportError as error:
        raise ModelError(f"torchvision can't be imported ({error}); install it with pip.") from error
    except RuntimeError as error:
        raise ModelError(
            f"torchvision can't be imported ({error}); install the one that matches torch {torch.__version__}."
        ) from error
