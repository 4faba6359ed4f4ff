"""What is shown to be maps, and what is refused, on small networks whose right reading is known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from ndengine.models.layers import layer_maps, resolve_layers, survey_layers
from ndengine.models.place_rules import thin_view
from ndengine.models.proof import prove_layers

SIZE = (32, 48)
GRID = (8, 12)  # of patches of 4 pixels


class Net(nn.Module):
    """Patches of 4 pixels with 8 units, and what a function makes of them, as the output of ``out``."""

    def __init__(self, work: Callable[..., Tensor], tokens: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.patch = nn.Conv2d(3, 8, 4, 4)
        self.work, self.tokens = work, tokens
        self.linear = nn.Linear(8, 8)
        self.mix = nn.Linear(GRID[0] * GRID[1], GRID[0] * GRID[1])
        self.extra = nn.Parameter(torch.randn(1, 2, 8))
        self.register_buffer("order", torch.randperm(GRID[0] * GRID[1]))
        self.register_buffer("first", torch.tensor(5))
        self.out = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x)
        y: Tensor = self.out(self.work(self, x.flatten(2).mT if self.tokens else x))
        return y


def windows(x: Tensor, side: int = 4) -> Tensor:
    """``[N, U, h, w]`` as ``[N * windows, side * side, U]``."""
    n, u, h, w = x.shape
    return x.view(n, u, h // side, side, w // side, side).permute(0, 2, 4, 3, 5, 1).reshape(-1, side * side, u)


def unwindows(x: Tensor, shape: torch.Size, side: int = 4) -> Tensor:
    n, u, h, w = shape
    return x.view(n, h // side, w // side, side, side, u).permute(0, 5, 1, 3, 2, 4).reshape(n, u, h, w)


def attend(net: Net, x: Tensor) -> Tensor:
    q, k, v = net.linear(x), x + 0.1, x * 2
    return (q @ k.mT).softmax(-1) @ v


MAPS: dict[str, tuple[Callable[..., Tensor], str]] = {
    "as they are": (lambda net, x: x, "nuhw"),
    "channels last": (lambda net, x: x.permute(0, 2, 3, 1), "nhwu"),
    "columns before units": (lambda net, x: x.permute(0, 3, 1, 2), "nwuh"),
    "shifted windows and back": (
        lambda net, x: unwindows(attend(net, windows(x.roll((-2, -2), (2, 3)))), x.shape).roll((2, 2), (2, 3)) + x,
        "nuhw",
    ),
    "a gate over the whole map": (lambda net, x: x * x.mean((2, 3), keepdim=True).sigmoid(), "nuhw"),
    "pixels shuffled out and in": (
        lambda net, x: nn.functional.pixel_unshuffle(nn.functional.pixel_shuffle(x, 2), 2),
        "nuhw",
    ),
    "patches merged": (
        lambda net, x: nn.functional.conv2d(
            nn.functional.pixel_unshuffle(x, 2), torch.ones(8, 32, 1, 1, device=x.device)
        ),
        "nuhw",
    ),
    "enlarged": (lambda net, x: nn.functional.interpolate(x, scale_factor=2, mode="bilinear"), "nuhw"),
    "a slice filled in place": (lambda net, x: _filled(x), "nuhw"),
    "beside what has no place": (
        lambda net, x: torch.cat([x.mean((2, 3), keepdim=True).expand_as(x), x], 1),
        "nuhw",
    ),
}


def _filled(x: Tensor) -> Tensor:
    out = x.new_zeros(x.shape)
    out[:, :, :4], out[:, :, 4:] = x[:, :, :4] * 2, x[:, :, 4:]
    return out


@pytest.mark.parametrize("name", MAPS)
def test_maps_that_are_followed(name: str) -> None:
    work, axes = MAPS[name]
    network = Net(work).eval()
    (layer,) = resolve_layers(network, ["out"], "net", SIZE)
    assert layer.axes == axes
    _answers_where_the_image_changes(network, layer)


TOKENS: dict[str, tuple[Callable[..., Tensor], tuple[tuple[int, int], ...]]] = {
    "alone": (lambda net, x: x, ((0, 96),)),
    "attention": (lambda net, x: attend(net, x) * 0.01 + x, ((0, 96),)),
    "fused attention": (lambda net, x: nn.functional.scaled_dot_product_attention(x, x, x) * 0.01 + x, ((0, 96),)),
    "extra in front": (lambda net, x: torch.cat([net.extra.expand(len(x), -1, -1), x], 1), ((2, 98),)),
    "extra behind, attention": (
        lambda net, x: attend(net, y := torch.cat([x, net.extra.expand(len(x), -1, -1)], 1)) * 0.01 + y,
        ((0, 96),),
    ),
    "extra in the middle": (
        lambda net, x: torch.cat([x[:, :40], net.extra.expand(len(x), -1, -1), x[:, 40:]], 1),
        ((0, 40), (42, 98)),
    ),
    "units mixed over all tokens": (lambda net, x: x @ (x.mT @ x).softmax(-1) * 0.01 + x, ((0, 96),)),
    "scrambled and put back": (lambda net, x: _scrambled_and_back(net, x), ((0, 96),)),
}


def _scrambled_and_back(net: Net, x: Tensor) -> Tensor:
    order = (torch.arange(x.shape[1], device=x.device) * 11 + net.first) % x.shape[1]
    return x[:, order][:, order.argsort()]


@pytest.mark.parametrize("name", TOKENS)
def test_tokens_that_are_followed(name: str) -> None:
    work, tokens = TOKENS[name]
    network = Net(work, tokens=True).eval()
    (layer,) = resolve_layers(network, ["out"], "net", SIZE)
    assert (layer.axes, layer.tokens, layer.shape) == ("ntu", tokens, (8, *GRID))
    _answers_where_the_image_changes(network, layer)


REFUSED: dict[str, tuple[Callable[..., Tensor], bool, str]] = {
    "windows": (lambda net, x: windows(x), False, "images and places share a dim"),
    "windows of an image": (lambda net, x: windows(x).unflatten(0, (len(x), -1)), False, "spread over its dims"),
    "weights of attention": (lambda net, x: (x @ x.mT).softmax(-1), True, "relates two places"),
    "one weight a key": (lambda net, x: (x @ x.mT).mean(1), True, "relates two places|changes|units"),
    "heads": (lambda net, x: x.unflatten(2, (2, 4)).transpose(1, 2), True, "more than one dim"),
    "queries": (lambda net, x: net.extra.expand(len(x), -1, -1) @ x.mT @ x, True, "no places in the image"),
    "tokens mixed": (lambda net, x: net.mix(x.mT).mT, True, "no places in the image"),
    "tokens scrambled": (lambda net, x: x[:, net.order], True, "not stand in the order|fill no grid"),
    "columns first": (
        lambda net, x: x.unflatten(1, GRID).transpose(1, 2).flatten(1, 2),
        True,
        "not stand in the order",
    ),
    "upside down": (lambda net, x: x.flip(2), False, "do not stand in the image's order"),
    "rolled": (lambda net, x: x.roll(3, 3), False, "do not stand in the image's order"),
    "mirrored on top": (lambda net, x: x + x.flip(3), False, "can't be followed"),
    "some tokens left out": (lambda net, x: x[:, 3:], True, "fill no grid"),
    "chosen by the image": (lambda net, x: x.gather(1, x.argsort(1)), True, "can't be followed"),
    "the image's spectrum": (lambda net, x: torch.fft.fft2(x).real, False, "can't be followed"),
    "a part of the image": (
        lambda net, x: nn.functional.interpolate(x[:, :, :4, :6], scale_factor=2, mode="nearest"),
        False,
        "a part of the image",
    ),
    "flattened": (lambda net, x: x.flatten(1), False, "units and places share a dim"),
    "a constant": (lambda net, x: net.extra.expand(len(x), -1, -1), False, "does not depend on the image"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_map_is_refused(name: str) -> None:
    work, tokens, said = REFUSED[name]
    _, refused = survey_layers(Net(work, tokens).eval(), SIZE)
    assert pytest.approx(1) == len([why for n, why in refused.items() if n == "out"])
    assert any(part in refused["out"] for part in said.split("|")), refused["out"]


def _answers_where_the_image_changes(network: nn.Module, layer: object) -> None:
    """Change one patch at a time: the map must change most at that patch, and every patch is looked at."""
    kept: list[Tensor] = []
    handle = network.get_submodule("out").register_forward_hook(lambda m, i, out: kept.append(out))
    image = torch.rand(1, 3, *SIZE, generator=torch.Generator().manual_seed(1))
    places = [(1, 2), (1, 10), (6, 3), (4, 7)]
    images = image.repeat(1 + len(places), 1, 1, 1)
    for number, (row, column) in enumerate(places, 1):
        images[number, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] += 2
    with torch.no_grad():
        network(images)
    handle.remove()
    maps = layer_maps(kept[0], layer)  # type: ignore[arg-type]
    changes = (maps[1:] - maps[:1]).abs().sum(1)
    for change, (row, column) in zip(changes, places, strict=True):
        found = divmod(int(change.argmax()), change.shape[1])
        scale = change.shape[0] / GRID[0]
        assert all(abs((at + 0.5) / scale - (p + 0.5)) <= 0.8 for at, p in zip(found, (row, column), strict=True))


def test_a_bump_shows_what_a_trace_lost() -> None:
    """Local answers show the order where no operation can be followed; global ones do not."""
    local = Net(lambda net, x: torch.fft.ifft(torch.fft.fft(x, dim=1), dim=1).real).eval()
    trace = prove_layers(local, SIZE)
    assert trace.steps["out"].outputs[-1][""].reading.axes == "nuhw"
    swapped = Net(lambda net, x: torch.fft.ifft(torch.fft.fft(x.flip(3), dim=1), dim=1).real).eval()
    assert not prove_layers(swapped, SIZE).steps["out"].outputs[-1][""].reading.axes


def test_a_bump_refutes_a_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rule that is wrong about an operation is found out on the network itself."""
    import ndengine.models.place_rules as rules

    monkeypatch.setitem(rules.RULES, "flip", rules._stay)
    refused = survey_layers(Net(lambda net, x: x.flip(3)).eval(), SIZE)[1]
    assert "other places than its order says" in refused["out"]


def test_a_proof_is_given_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import ndengine.models.proof as proof

    network = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.Flatten(2)).eval()
    first = prove_layers(network, SIZE, cache=tmp_path)
    (kept,) = (tmp_path / "proofs").iterdir()
    monkeypatch.setattr(proof, "_second_trace", lambda *a: pytest.fail("proven again"))
    assert prove_layers(network, SIZE, cache=tmp_path).steps == first.steps
    content = kept.read_text()
    monkeypatch.undo()
    for damaged in (content.replace("nuhw", "nhuw"), content[:-9], ""):
        kept.write_text(damaged)
        assert prove_layers(network, SIZE, cache=tmp_path).steps == first.steps
        assert kept.read_text() == content
    wider = nn.Sequential(nn.Conv2d(3, 5, 3, 2, 1), nn.ReLU(), nn.Flatten(2)).eval()
    for other, size in ((wider, SIZE), (network, (32, 40))):
        prove_layers(other, size, cache=tmp_path)
    assert len(list((tmp_path / "proofs").iterdir())) == 3
    prove_layers(Net(lambda net, x: x).eval(), SIZE, cache=tmp_path)
    prove_layers(type("Local", (Net,), {"__module__": "nowhere"})(lambda net, x: x).eval(), SIZE, cache=tmp_path)
    assert len(list((tmp_path / "proofs").iterdir())) == 4  # code that can't be read has no fingerprint


def test_thin_views_equal_torchs() -> None:
    generator = torch.Generator().manual_seed(0)

    def draw(most: int) -> int:
        return int(torch.randint(most, (), generator=generator))

    for _ in range(300):
        factors = [1 + draw(3) for _ in range(1 + draw(5))]
        shapes = []
        for _ in range(2):
            shape, at = [], 0
            while at < len(factors):
                count = 1 + draw(2)
                shape.append(int(torch.tensor(factors[at : at + count]).prod()))
                at += count
            shapes.append(shape)
        before, after = shapes
        thin = torch.rand([1 if draw(3) == 0 else n for n in before], generator=generator).expand(before)
        assert torch.equal(thin_view(thin, after), thin.reshape(after))


def test_a_huge_image_is_not_followed() -> None:
    network = nn.Sequential(nn.MaxPool2d(1)).eval()
    reading = prove_layers(network, (1 << 20, 1)).steps["0"].outputs[-1][""].reading
    assert not reading.axes
    assert "a side of more than 16,384 pixels" in reading.refusal
