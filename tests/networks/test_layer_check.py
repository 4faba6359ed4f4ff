"""The check of layers itself: it says wrong of maps that are read wrongly, and right of the same read rightly."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from judge import UNSAID, Documented, Verdict, judge
from quiet import local_attention, make_local
from torch import Tensor, nn

SIZE = (32, 48)
GRID = (4, 6)


class Tokens(nn.Module):
    """Patches of 8x8 as tokens of 24 units, with extra ones before and behind, and attention between all."""

    def __init__(self, first: int = 0, last: int = 0) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 24, 8, 8)
        self.extra = nn.Parameter(torch.randn(2, 8, 24))
        self.first, self.last = first, last
        self.block = nn.TransformerEncoderLayer(24, 3, 32, batch_first=True, norm_first=True)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.patch(images).flatten(2).transpose(1, 2)
        parts = (self.extra[0, : self.first], tokens, self.extra[1, : self.last])
        whole = torch.cat([part if part.dim() == 3 else part.expand(len(images), -1, -1) for part in parts], 1)
        return self.block(whole)


class UnitsLast(nn.Module):
    """A map with its units last, as Swin's."""

    def __init__(self, units: int = 24) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, units, 8, 8)
        self.block = nn.Linear(units, units)

    def forward(self, images: Tensor) -> Tensor:
        return self.block(self.patch(images).permute(0, 2, 3, 1))


class Windows(nn.Module):
    """Tokens window by window, of 2x2 each."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 24, 8, 8)
        self.block = nn.Linear(24, 24)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.patch(images).permute(0, 2, 3, 1)
        return self.block(maps.unflatten(2, (3, 2)).unflatten(1, (2, 2)).transpose(2, 3).reshape(len(images), 24, 24))


class Convolutions(nn.Module):
    """Three convolutions without padding, a pool, and a vector."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 16, 3, 2), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU())
        self.block = nn.Sequential(nn.Conv2d(16, 24, 3), nn.ReLU(), nn.MaxPool2d(3, 2))
        self.vector = nn.Linear(24, 10)

    def forward(self, images: Tensor) -> Tensor:
        return self.vector(self.block(self.first(images)).mean((2, 3)))


class PlacesAsVector(nn.Module):
    """A vector with one unit a place."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.Conv2d(3, 1, 8, 8), nn.Flatten())

    def forward(self, images: Tensor) -> Tensor:
        return self.block(images)


def verdict(
    network: nn.Module,
    arrange: Callable[[Tensor], Tensor],
    documented: Documented = UNSAID,
    layer: str = "block",
) -> Verdict:
    """What the check says of a layer that ``arrange`` makes maps of."""
    torch.manual_seed(0)
    network.eval()

    def reader(names: object) -> Callable[[Tensor], dict[str, Tensor]]:
        def read(batch: Tensor) -> dict[str, Tensor]:
            kept: list[Tensor] = []
            handle = network.get_submodule(layer).register_forward_hook(lambda m, i, output: kept.append(output))
            with torch.inference_mode():
                network(batch)
            handle.remove()
            return {layer: arrange(kept[0]).contiguous()}

        return read

    shape = tuple(reader([layer])(torch.zeros(1, 3, *SIZE))[layer].shape[1:])
    make_local(network, SIZE)
    with local_attention():
        return judge(network, reader, {layer: shape}, SIZE, documented)[layer]


def raster(first: int = 0, grid: tuple[int, int] = GRID) -> Callable[[Tensor], Tensor]:
    """Tokens from ``first`` on as rows of a grid."""
    return lambda x: x[:, first : first + grid[0] * grid[1]].unflatten(1, grid).movedim(-1, 1)


RIGHT = {
    "tokens": (Tokens, raster(), Documented()),
    "class token": (lambda: Tokens(1), raster(1), Documented(1)),
    "registers": (lambda: Tokens(5), raster(5), Documented(5)),
    "class token first, detection tokens last": (lambda: Tokens(1, 7), raster(1), Documented(1, 7)),
    "units last": (UnitsLast, lambda x: x.movedim(-1, 1), Documented()),
    "as many units as rows, units last": (lambda: UnitsLast(GRID[0]), lambda x: x.movedim(-1, 1), Documented()),
    "convolutions": (Convolutions, lambda x: x, Documented()),
}

WRONG = {
    "class token among the grid's": (lambda: Tokens(1), raster(), Documented(1)),
    "a token too late": (lambda: Tokens(1, 1), raster(2), Documented(1, 1)),
    "all extra tokens dropped in front": (lambda: Tokens(1, 7), raster(8), Documented(1, 7)),
    "class token last, dropped in front": (lambda: Tokens(0, 1), raster(1), Documented(0, 1)),
    "a grid of columns by rows": (Tokens, raster(grid=GRID[::-1]), Documented()),
    "rows and columns exchanged": (UnitsLast, lambda x: x.permute(0, 3, 2, 1), Documented()),
    "units last taken for maps": (UnitsLast, lambda x: x, Documented()),
    "as many units as rows, taken for maps": (lambda: UnitsLast(GRID[0]), lambda x: x, Documented()),
    "maps taken for units last": (Convolutions, lambda x: x.movedim(-1, 1), Documented()),
    "windows in their own order": (Windows, raster(), Documented()),
    "rows upside down": (UnitsLast, lambda x: x.movedim(-1, 1).flip(2), Documented()),
    "columns rolled by one": (UnitsLast, lambda x: x.movedim(-1, 1).roll(1, 3), Documented()),
    "tokens by chance": (
        Tokens,
        lambda x: raster()(x[:, torch.randperm(24, generator=torch.Generator().manual_seed(0))]),
        Documented(),
    ),
    "tokens and units exchanged": (Tokens, lambda x: raster()(x.transpose(1, 2)), Documented()),
    "a part of the grid": (Tokens, raster(grid=(3, 6)), Documented()),
    "half of the units": (UnitsLast, lambda x: x.movedim(-1, 1)[:, ::2], Documented()),
    "images exchanged": (UnitsLast, lambda x: x.movedim(-1, 1).flip(0), Documented()),
    "a unit a place": (PlacesAsVector, lambda x: x[..., None, None], Documented()),
    "no places": (Tokens, raster(), Documented(placeless=("block",))),
}


@pytest.mark.parametrize("case", RIGHT)
def test_right_maps_are_right(case: str):
    network, arrange, documented = RIGHT[case]
    assert verdict(network(), arrange, documented).outcome == "right"


@pytest.mark.parametrize("case", WRONG)
def test_wrong_maps_are_wrong(case: str):
    network, arrange, documented = WRONG[case]
    assert verdict(network(), arrange, documented).outcome == "wrong"


# Of a true output alone (no comparison of values) the places must show the same.
@pytest.mark.parametrize("case", [case for case in WRONG if case not in ("half of the units", "no places")])
def test_places_alone_show_what_is_wrong(case: str, monkeypatch: pytest.MonkeyPatch):
    network, arrange, documented = WRONG[case]
    letters = "ntu" if network not in (UnitsLast, Convolutions) else "nuhw"
    monkeypatch.setattr("judge.order_of", lambda *args: (letters, 0, True))
    assert verdict(network(), arrange, documented).outcome == "wrong"


def test_a_vector_is_right_and_answers_to_all_places():
    assert verdict(Convolutions(), lambda x: x[..., None, None], layer="vector") == Verdict("right", letters="nu")


def test_what_does_not_depend_on_the_image_is_undecided():
    class Constant(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block = nn.Identity()

        def forward(self, images: Tensor) -> Tensor:
            return self.block(torch.ones(len(images), 4, *GRID))

    found = verdict(Constant(), lambda x: x)
    assert (found.outcome, found.why) == ("undecided", "100% of positions answer to nothing")
