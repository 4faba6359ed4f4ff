"""What is no regular file is refused before it is opened: a pipe would keep its reader waiting."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ndengine.errors import ModelError
from ndengine.models.caffe.caffemodel import read_caffemodel
from ndengine.models.caffe.prototxt import read_prototxt
from ndengine.models.weights import read_weights

READERS = {
    "net.prototxt": (read_prototxt, "--model"),
    "net.caffemodel": (read_caffemodel, "--weights"),
    "net.pth": (read_weights, "--weights"),
    "net.safetensors": (read_weights, "--weights"),
}


@pytest.mark.parametrize("name", READERS)
def test_what_is_no_regular_file_is_refused(name: str, tmp_path: Path) -> None:
    reader, option = READERS[name]
    path = tmp_path / name

    def refused() -> None:
        with pytest.raises(ModelError, match=f"{name} .*no regular file.*; give {option} an existing"):
            reader(path)
        path.unlink()

    path.symlink_to("/dev/null")  # first, as a reader that looks too late does not hang here
    refused()
    os.mkfifo(path)
    refused()


@pytest.mark.parametrize(("name", "why"), [("net.prototxt", "No such file"), ("net.pth", "does not exist")])
def test_a_link_to_a_file_is_one_and_a_link_to_nothing_is_missing(name: str, why: str, tmp_path: Path) -> None:
    reader: Callable[[Path], object] = READERS[name][0]
    path = tmp_path / name
    path.symlink_to(tmp_path / "file")
    with pytest.raises(ModelError, match=why):
        reader(path)
    (tmp_path / "file").write_text("layer {")
    with pytest.raises(ModelError, match=r"ends inside|is damaged"):
        reader(path)
