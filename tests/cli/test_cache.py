from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Invoke


def test_an_empty_cache_is_listed_and_cleared(invoke: Invoke, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    done = invoke("cache", "list", "--cache", folder)
    assert done.exit_code == 0
    assert done.stdout.startswith(f"Packed datasets in {folder}: 0\n")
    done = invoke("cache", "clear", "--cache", folder)
    assert (done.exit_code, done.stdout) == (0, f"Packed datasets deleted from {folder}: 0 (0.0 MB)\n")


def test_packs_are_listed_and_cleared_and_other_files_are_not(invoke: Invoke, tmp_path: Path) -> None:
    pack = tmp_path / "set-0123456789abcdef.h5"
    pack.write_bytes(bytes(1_500_000))
    mine = tmp_path / "mine.h5"
    mine.touch()
    done = invoke("cache", "list", "--cache", tmp_path, "--json")
    assert json.loads(done.stdout) == {
        "cache": str(tmp_path),
        "packs": [{"path": str(pack), "bytes": 1_500_000, "dataset": "", "source": "", "images": 0}],
    }
    assert "unfinished or damaged" in invoke("cache", "list", "--cache", tmp_path).stdout
    done = invoke("cache", "clear", "--cache", tmp_path)
    assert done.stdout == f"Packed datasets deleted from {tmp_path}: 1 (1.5 MB)\n"
    assert not pack.exists()
    assert mine.exists()


def test_the_cache_can_be_named_by_the_environment(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NDENGINE_CACHE", str(tmp_path / "here"))
    assert json.loads(invoke("cache", "list", "--json").stdout)["cache"] == str(tmp_path / "here")


def test_the_cache_is_the_users_own_by_default(invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NDENGINE_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = Path(json.loads(invoke("cache", "list", "--json").stdout)["cache"])
    assert folder.name == "ndengine"
    assert tmp_path in folder.parents
