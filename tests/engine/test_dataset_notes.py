"""What a run says of a dataset that it accepts though nobody may have meant it so."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np
from PIL import Image
from tinybroden import edit, make_broden

from ndengine.datasets import Vocabulary
from ndengine.datasets.broden import BrodenFolder
from ndengine.datasets.notes import repeated_images, turned_images, unread_columns, unscored_concepts
from ndengine.datasets.pack import pack_dataset

VOCABULARY = Vocabulary(("sky", "tree", "", "", "door"), ("object", "part"), np.array([0, -1, 1, -1, 1]))


class Notes:
    """A listener that keeps the notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def stage(self, title: str, total: int, unit: str) -> AbstractContextManager[object]:
        return nullcontext(lambda steps: None)

    def heading(self, text: str) -> None: ...

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_images_that_count_twice() -> None:
    assert list(repeated_images(["a.png", "b.png", "sub/a.png"])) == []
    (note,) = repeated_images(["a.png", "b.png", "./a.png", "a.png"])
    assert "1 image stands in index.csv more than once (such as a.png, 3 times)" in note
    (note,) = repeated_images(["a.png", "b.png", "a.png", "b.png"])
    assert "2 images stand" in note


def test_columns_that_nobody_reads() -> None:
    header = b"image,split,ih,iw,sh,sw,object,part\n"
    rows = b"a.png,,1,1,1,1,5,\nb.png,,1,1,1,1,,6\n"
    assert list(unread_columns({"index.csv": header + rows}, ("object", "part"))) == []
    (note,) = unread_columns({"index.csv": header + rows}, ("object",))
    assert "1 cells in the column part, which category.csv does not list" in note
    assert list(unread_columns({"index.csv": header + rows.replace(b"6", b"")}, ("object",))) == []


def test_concepts_that_no_unit_is_scored_for() -> None:
    assert list(unscored_concepts(np.array([9, 0, 0, 0, 9]), VOCABULARY)) == []
    (note,) = unscored_concepts(np.array([9, 1, 0, 2, 9]), VOCABULARY)
    assert note.startswith("The concepts 2 (tree), 4 have labelled pixels, but no category's table lists them")
    (note,) = unscored_concepts(np.array([9, 0, 1, 0, 9]), VOCABULARY)
    assert note.startswith("The concept 3 has labelled pixels, but no name in label.csv")
    many = Vocabulary(("x",) * 9, ("object",), np.full(9, -1))
    (note,) = unscored_concepts(np.ones(9, np.int64), many)
    assert "5 (x) and 4 more have" in note


def turn(file: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    with Image.open(file) as picture:
        picture.save(file, exif=exif)


def test_packing_tells_of_images_that_were_turned(tmp_path: Path) -> None:
    make_broden(tmp_path / "tiny")
    turn(tmp_path / "tiny/images/000.png", 3)
    turn(tmp_path / "tiny/images/002.png", 1)
    turn(tmp_path / "tiny/images/sub/003.png", 3)  # without a label map, there is nothing to lie otherwise
    progress = Notes()
    pack_dataset(BrodenFolder(tmp_path / "tiny"), tmp_path / "tiny.h5", progress).close()
    assert progress.notes == list(turned_images({"000.png"}))
    assert (
        "1 image with label maps (such as 000.png) had an EXIF orientation and was turned upright" in progress.notes[0]
    )
    assert list(turned_images(set())) == []


def test_a_pack_tells_as_much_as_its_folder(tmp_path: Path) -> None:
    make_broden(tmp_path / "tiny")
    edit(tmp_path / "tiny/index.csv", "002.png", "./000.png")
    with pack_dataset(BrodenFolder(tmp_path / "tiny"), tmp_path / "tiny.h5") as pack:
        (note,) = repeated_images(pack.image_names)
    assert "(such as 000.png, 2 times)" in note
