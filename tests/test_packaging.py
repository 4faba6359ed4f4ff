"""What a wheel holds, and that an installation of it works outside the repository."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from configparser import ConfigParser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHIPPED = ("ndkernels", "ndengine", "cli", "pyproject.toml", "setup.py", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy, so that no build folder is left here; nothing is downloaded."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in SHIPPED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / "source" / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / "source" / name)
    command = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        str(folder),
        str(folder / "source"),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path) -> Path:
    """The wheel laid open, as an installer would put it on the path."""
    folder = wheel.parent / "site"
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(folder)
    return folder


def python(code: str, site: Path) -> subprocess.CompletedProcess[str]:
    """Run code outside the repository with only the laid-open wheel in front of the path."""
    script = f"import sys; sys.path.insert(0, {str(site)!r})\n{code}"
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=site.parent)


def test_the_wheel_holds_every_source_file_and_nothing_else(wheel: Path) -> None:
    folders = {
        "ndkernels": ROOT / "ndkernels",
        "ndengine": ROOT / "ndengine",
        "ndcli": ROOT / "cli" / "ndcli",
    }
    expected = {
        f"{package}/{path.relative_to(folder).as_posix()}"
        for package, folder in folders.items()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with zipfile.ZipFile(wheel) as packed:
        held = {name for name in packed.namelist() if ".dist-info/" not in name}
    assert held == expected


def test_the_wheel_is_small(wheel: Path) -> None:
    assert wheel.stat().st_size < 4 * 2**20


def test_the_wheel_names_its_console_script_and_licence(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as packed:
        names = packed.namelist()
        points = ConfigParser()
        points.read_string(packed.read(next(n for n in names if n.endswith("entry_points.txt"))).decode())
        metadata = packed.read(next(n for n in names if n.endswith("/METADATA"))).decode()
    assert dict(points["console_scripts"]) == {"ndengine": "ndcli.main:main"}
    assert any(n.endswith("licenses/LICENSE") for n in names)
    assert "License-Expression: MIT" in metadata
    assert "Requires-Python: >=3.11" in metadata


def test_cli_is_no_package_outside_the_repository(installed: Path) -> None:
    done = python("import ndcli, os; assert ndcli.__file__.startswith(os.getcwd()); import cli", installed)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "ModuleNotFoundError: No module named 'cli'"


def test_an_installed_wheel_answers(installed: Path) -> None:
    done = python("from ndcli.main import main; main(['--help'], prog_name='ndengine')", installed)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Usage: ndengine")


def test_the_package_data_can_be_found(installed: Path) -> None:
    code = (
        "from importlib.resources import files\n"
        "for package in ('ndengine', 'ndkernels', 'ndcli'):\n"
        "    assert files(package).joinpath('py.typed').is_file()\n"
        "assert files('ndengine').joinpath('models/scenesnet.safetensors').stat().st_size <= 2_000_000"
    )
    done = python(code, installed)
    assert done.returncode == 0, done.stderr


def test_python_m_ndcli_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ndcli", "--version"], capture_output=True, text=True, cwd=ROOT / "cli"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "ndengine, version 0.1.0\n"
