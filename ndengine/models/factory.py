"""Networks from somebody's own code: ``package.module:factory`` and ``file.py:factory``."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType

from torch import nn
from torch.nn.parameter import is_lazy

from ndengine.errors import ModelError
from ndengine.models.foreign import foreign_output, is_foreign, said, unwrap_network
from ndengine.models.torchvision_import import repair_torchvision


def build_from_factory(model: str) -> nn.Module:
    """The network that a factory returns.

    Parameters
    ----------
    model : str
        ``package.module:factory`` (the current folder counts as a place for modules) or ``file.py:factory``;
        the factory is anything that can be called without arguments and returns an nn.Module, or is one.

    Raises
    ------
    ModelError
        If there is no such module, file or factory, or what it runs fails; with the message of what failed.
    """
    place, _, name = model.rpartition(":")
    repair_torchvision()
    with _importable(Path(place).resolve().parent if place.endswith(".py") else Path.cwd()), foreign_output():
        try:
            source = _load_file(Path(place)) if place.endswith(".py") else importlib.import_module(place)
        except BaseException as error:  # a module runs its author's code, which may raise anything
            if not is_foreign(error):
                raise
            raise ModelError(f"{place} of --model {model} can't be imported: {said(error)}{_exits(error)}.") from error
        factory: object = source
        for part in name.split("."):
            if not hasattr(factory, part):
                raise ModelError(f"{place} has no {name}{_close(name, source)}; write --model {place}:FACTORY.")
            factory = getattr(factory, part)
        try:
            network = factory() if callable(factory) and not isinstance(factory, nn.Module) else factory
        except BaseException as error:  # likewise
            if not is_foreign(error):
                raise
            raise ModelError(f"{model} failed: {said(error)}; a factory is called without arguments.") from error
    network = unwrap_network(network, model)
    lazy = [key for key, tensor in network.named_parameters() if is_lazy(tensor)]
    if lazy:
        raise ModelError(
            f"{model} has parameters that get their shape when it first runs ({', '.join(lazy[:3])}); run it once "
            "in the factory."
        )
    return network


def _load_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise ModelError(f"{path} does not exist; write --model file.py:factory with a file that does.")
    name = f"_ndengine_model_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ModelError(f"{path} can't be imported as Python; write --model file.py:factory.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickling look a class's module up there
    spec.loader.exec_module(module)
    return module


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Let a folder's modules be imported meanwhile, behind everything that is installed."""
    sys.path.append(str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def _exits(error: BaseException) -> str:
    if not isinstance(error, SystemExit):
        return ""
    return '; keep what a script does, such as reading its arguments, under if __name__ == "__main__"'


def _close(name: str, module: ModuleType) -> str:
    close = get_close_matches(name, [n for n in vars(module) if not n.startswith("_")], 3)
    return f" (close names: {', '.join(close)})" if close else ""
