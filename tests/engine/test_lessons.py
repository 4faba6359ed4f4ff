"""What the small networks learn: questions, answers and marks of each lesson."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from ndengine.models.scenesnet import TAGS, normalise
from ndengine.models.small.network import SmallNet
from ndengine.models.training.lessons import (
    BLOCK,
    LESSONS,
    ORDERS,
    TILE,
    TILE_SHOWN,
    Coloring,
    Puzzle,
    Tagging,
    Turning,
)
from ndengine.models.training.loop import Course, Epoch, examine, train_network
from ndengine.models.training.pictures import Pictures, paint


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Small convolutions take no less time on two threads."""
    usual = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(usual)


@pytest.fixture(scope="module")
def pictures() -> Pictures:
    return paint(seed=78, images=24)


def quarter(photo: torch.Tensor, place: int, margin: int = 0) -> torch.Tensor:
    y, x = (TILE * part + margin for part in divmod(place, 2))
    size = TILE - 2 * margin
    return photo[:, y : y + size, x : x + size]


def test_held_out_pictures_are_tagged_as_they_are(pictures: Pictures) -> None:
    rows = torch.tensor([3, 5])
    batch, goal = Tagging().pose(pictures, rows, held_out=True)
    assert torch.equal(batch, normalise(pictures.photos[rows]))
    assert torch.equal(goal[0], pictures.tags[rows])
    assert torch.equal(goal[1], pictures.whole[rows])
    assert pictures.tags[rows].shape == (2, TAGS)


def test_a_batch_to_learn_from_is_mirrored_now_and_then(pictures: Pictures) -> None:
    rows = torch.arange(4)
    usual = normalise(pictures.photos[rows])
    torch.manual_seed(0)
    shown = [Tagging().pose(pictures, rows, held_out=False)[0] for _ in range(20)]
    mirrored = [torch.equal(batch, usual.flip(3)) for batch in shown]
    assert all(m or torch.equal(batch, usual) for m, batch in zip(mirrored, shown, strict=True))
    assert 0 < sum(mirrored) < 20


def test_a_turn_can_be_turned_back(pictures: Pictures) -> None:
    rows = torch.arange(8)
    batch, (turns,) = Turning().pose(pictures, rows, held_out=True)
    assert turns.tolist() == [0, 1, 2, 3] * 2
    back = [torch.rot90(photo, -int(turn), (1, 2)) for photo, turn in zip(batch, turns, strict=True)]
    assert torch.equal(torch.stack(back), normalise(pictures.photos[rows]))


def test_a_puzzle_can_be_solved(pictures: Pictures) -> None:
    rows = torch.arange(24)
    batch, (order,) = Puzzle().pose(pictures, rows, held_out=True)
    assert sorted(order.tolist()) == list(range(24))
    margin = (TILE - TILE_SHOWN) // 2
    for photo, shuffled, which in zip(normalise(pictures.photos), batch, ORDERS[order].tolist(), strict=True):
        for place, source in enumerate(which):
            assert torch.equal(quarter(shuffled, place, margin), quarter(photo, source, margin))
            frame = quarter(shuffled, place).clone()
            frame[:, margin:-margin, margin:-margin] = 0
            assert not frame.any(), "grey around what is shown"


def test_a_puzzle_to_learn_from_shows_other_parts_of_the_quarters(pictures: Pictures) -> None:
    torch.manual_seed(1)
    batch, (order,) = Puzzle().pose(pictures, torch.arange(24), held_out=False)
    assert len(set(order.tolist())) > 4
    margin = (TILE - TILE_SHOWN) // 2
    photos, moved = normalise(pictures.photos), 0
    for photo, shuffled, which in zip(photos, batch, ORDERS[order].tolist(), strict=True):
        moved += sum(
            not torch.equal(quarter(shuffled, place, margin), quarter(photo, source, margin))
            for place, source in enumerate(which)
        )
    assert moved > 48


def test_colors_are_asked_for_by_blocks(pictures: Pictures) -> None:
    batch, (colors,) = Coloring().pose(pictures, torch.arange(2), held_out=True)
    assert colors.shape == (2, 2, 112 // BLOCK, 112 // BLOCK)
    block = batch[1, :, BLOCK : 2 * BLOCK, :BLOCK].mean((1, 2))
    assert torch.allclose(colors[1, :, 1, 0], block[[0, 2]] - block.mean(), atol=1e-5)


def test_a_network_that_colors_sees_no_color(pictures: Pictures) -> None:
    lesson = LESSONS["coloring"]
    net = SmallNet(lesson.head(128, 0.0), grey=True).eval()
    photos = normalise(pictures.photos[:2])
    grey = photos.mean(1, keepdim=True).expand_as(photos)
    with torch.inference_mode():
        assert torch.equal(net(photos), net(grey))
        assert not torch.equal(SmallNet(lesson.head(128, 0.0)).eval()(photos), net(grey))


@pytest.mark.parametrize("name", LESSONS)
def test_perfect_answers_get_full_marks(name: str, pictures: Pictures) -> None:
    lesson = LESSONS[name]
    _, goal = lesson.pose(pictures, torch.arange(24), held_out=True)
    perfect = {
        "tags": lambda: (goal[0] + torch.nn.functional.one_hot(goal[1], TAGS + 1)[:, :TAGS]) * 40 - 20,
        "turning": lambda: torch.nn.functional.one_hot(goal[0], 4) * 40.0,
        "puzzle": lambda: torch.nn.functional.one_hot(goal[0], 24) * 40.0,
        "coloring": lambda: goal[0],
    }[name]()
    assert all(mark == pytest.approx(1) for mark in lesson.marks(perfect, goal).values())
    assert lesson.loss(perfect, goal) < 0.01
    assert lesson.loss(-perfect, goal) > 0.1
    assert all(mark < 0.5 for mark in lesson.marks(-perfect, goal).values())


@pytest.mark.parametrize("name", LESSONS)
def test_every_lesson_can_be_learned(name: str, pictures: Pictures, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network learns the answers to a few questions that stay the same."""
    lesson, pose = LESSONS[name], LESSONS[name].pose
    monkeypatch.setattr(lesson, "pose", lambda pictures, rows, held_out: pose(pictures, rows, held_out=True))
    torch.manual_seed(2)
    net = SmallNet(lesson.head(128, 0.0), grey=name == "coloring")
    few = Pictures(*(part[:8] for part in pictures))
    told: list[Epoch] = []
    steps: list[int] = []
    course = Course(epochs=12, batch=4, rate=2e-3)
    train_network(net, lesson, few, few, course, after_epoch=told.append, at_step=steps.append)
    assert steps == list(range(25))
    assert [epoch.number for epoch in told] == list(range(1, 13))
    assert told[-1].held_out == pytest.approx(float(lesson.loss(*examine(net, lesson, few))))
    assert told[-1].loss < 0.9 * told[0].loss
    assert told[-1].line().startswith("epoch 12/12  loss ")


def test_scenes_of_other_seeds_are_learned_from() -> None:
    assert (paint(78, 2).photos == paint(79, 2).photos).float().mean() < 0.9
