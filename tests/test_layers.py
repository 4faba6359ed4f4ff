"""The rules of the house: who may import whom, the order of the stages, and what an import may load."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {"ndkernels": ROOT / "ndkernels", "ndengine": ROOT / "ndengine", "ndcli": ROOT / "cli" / "ndcli"}
ENGINE = {
    "PIL",
    "filelock",
    "h5py",
    "jinja2",
    "markupsafe",
    "ndengine",
    "ndkernels",
    "numpy",
    "pandas",
    "platformdirs",
    "safetensors",
    "scipy",
    "torch",
    "torchvision",
    "xxhash",
}
ALLOWED = {
    "ndkernels": {"ndkernels", "numba", "llvmlite", "numpy", "torch", "triton"},
    "ndengine": ENGINE,
    "ndcli": {"click", "ndcli", "ndengine", "rich"},
}
FOUNDATION = {
    "cache",
    "clock",
    "devices",
    "errors",
    "hdf5",
    "inside",
    "locks",
    "progress",
    "provenance",
    "refusals",
    "settings",
    "strict_json",
    "visible",
}  # any stage may import these
ORDER = (  # the stages from left to right; modules of one row may import each other
    {"datasets", "models"},
    {"rotation"},
    {"forward", "probe"},
    {"spool", "spool_files", "spool_key", "dense_spool", "stream", "tops"},
    {"threshold"},
    {"tally"},
    {"score"},
    {"owned", "publish", "result", "result_files", "result_record", "units_table"},
    {"taken", "workspace"},
    {"report"},
    {"compare"},
    {"plan"},
    {"nonfinite", "keeping", "settle"},
    {"dissect"},
    {"series"},
    {"experiments"},
)


def sources(package: str) -> list[Path]:
    return sorted(PACKAGES[package].rglob("*.py"))


def module_name(package: str, path: Path) -> str:
    parts = [package, *path.relative_to(PACKAGES[package]).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> Iterator[str]:
    """Full names of all modules that a file imports, anywhere in it; ``from a import b`` gives ``a.b``."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports relatively; write the full name"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def rank(stage: str) -> int:
    return next((place for place, names in enumerate(ORDER) if stage in names), -1)


@pytest.mark.parametrize("package", PACKAGES)
def test_each_package_imports_only_what_it_may(package: str) -> None:
    strangers = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in sources(package)
        for name in imports(path)
        if name.split(".")[0] not in ALLOWED[package] | sys.stdlib_module_names
    }
    assert not strangers


def test_every_engine_module_has_its_place_in_the_order() -> None:
    placed = FOUNDATION.union(*ORDER)
    stages = {
        name.split(".")[1] for path in sources("ndengine") if (name := module_name("ndengine", path)) != "ndengine"
    }
    assert stages <= placed


def test_no_stage_imports_a_later_one() -> None:
    backwards = []
    for path in sources("ndengine"):
        name = module_name("ndengine", path)
        if name == "ndengine":  # the front door, which loads its names when they are used
            continue
        own = rank(name.split(".")[1])
        for imported in imports(path):
            parts = imported.split(".")
            if parts[0] == "ndengine" and len(parts) > 1 and rank(parts[1]) > own:
                backwards.append(f"{path.relative_to(ROOT)} imports {imported}")
    assert not backwards


def test_only_dissect_knows_the_order() -> None:
    """Apart from what carries out many runs, nothing imports dissect.py: the stages don't know it."""
    for path in sources("ndengine"):
        name = module_name("ndengine", path)
        if name in ("ndengine", "ndengine.dissect") or name.startswith("ndengine.series"):
            continue
        assert not any(i.startswith("ndengine.dissect") for i in imports(path)), path


def loaded_by(code: str) -> set[str]:
    """Top-level names of the modules that a fresh interpreter holds after running ``code``."""
    script = f"{code}\nimport sys\nprint(' '.join({{name.partition('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True)
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("package", PACKAGES)
def test_importing_a_package_loads_no_compiler(package: str) -> None:
    found = loaded_by(f"import sys; sys.path.insert(0, 'cli'); import {package}")
    assert package in found
    assert not found & {"numba", "triton", "llvmlite"}


def test_importing_every_engine_module_loads_no_compiler() -> None:
    names = [module_name("ndengine", path) for path in sources("ndengine") if path.stem != "__main__"]
    found = loaded_by("\n".join(f"import {name}" for name in names))
    assert "h5py" in found
    assert not found & {"numba", "triton"}


def test_importing_ndengine_loads_nothing_heavy() -> None:
    assert not loaded_by("import ndengine") & {"torch", "numpy", "h5py", "PIL", "torchvision", "pandas", "scipy"}


@pytest.mark.parametrize(
    "arguments", [["--help"], ["run", "--help"], ["data", "pack", "--help"], ["--version"]], ids=" ".join
)
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    """What keeps the help under half a second, without a clock that a busy machine would upset."""
    code = (
        "import sys; sys.path.insert(0, 'cli')\n"
        "from ndcli.main import main\n"
        f"main({arguments!r}, prog_name='ndengine', standalone_mode=False)"
    )
    found = loaded_by(code)
    assert "click" in found
    assert not found & {"torch", "numpy", "h5py", "PIL", "torchvision", "pandas", "jinja2", "rich", "numba", "scipy"}


def test_the_rules_can_fail(tmp_path: Path) -> None:
    inside = tmp_path / "a.py"
    inside.write_text("def f():\n    import numba.core\n    from ndengine import dissect\n    from os import path\n")
    assert list(imports(inside)) == ["numba.core", "ndengine.dissect", "os.path"]
    assert rank("dissect") > rank("report") > rank("result") > rank("spool") > rank("datasets") > rank("errors")
    assert "numpy" in loaded_by("import numpy")
