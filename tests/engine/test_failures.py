"""What is said of a forward pass that fails: the network's own words, and a way out that works."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ndengine.errors import ModelError
from ndengine.models.failures import failure_sentence, image_channels, input_channels, reaches, working_size
from ndengine.models.layers import resolve_layers
from ndengine.probe import Probe

SIZE = (20, 28)


class Tied(nn.Module):
    """Its classifier is for images of 32x32."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, 2, 1)
        self.head = nn.Linear(4 * 16 * 16, 5)

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.head(self.conv(images).flatten(1))
        return found


class Picky(nn.Module):
    """Raises for what the images hold, or for their size, once it has no data to look at."""

    def __init__(self, error: BaseException, at: int = 0) -> None:
        super().__init__()
        self.conv, self.error, self.at = nn.Conv2d(3, 4, 3, 2, 1), error, at
        self.last = nn.ReLU()

    def forward(self, images: Tensor) -> Tensor:
        maps = self.conv(images)
        if float(images.max()) > 9 and images.shape[2] != self.at:  # more than a trace shows it
            raise self.error
        found: Tensor = self.last(maps)
        return found


class LeavesError(BaseException):
    """Somebody's own."""


def images(count: int = 2, channels: int = 3) -> Tensor:
    return 10 + torch.rand(count, channels, *SIZE, generator=torch.Generator().manual_seed(0))


def sentence(network: nn.Module, given: Tensor, paths: list[str] | None = None) -> str:
    """What is said, with what the network really raises."""
    try:
        network.eval()(given)
    except BaseException as error:
        return failure_sentence("It fails", error, network, given, paths or [])
    raise AssertionError("it did not fail")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (KeyError("conv9"), "KeyError: 'conv9'"),
        (AttributeError("none"), "AttributeError: none"),
        (AssertionError("images must be normalised"), "AssertionError: images must be normalised"),
        (StopIteration(), "StopIteration"),
        (SystemExit(3), "SystemExit: 3"),
        (LeavesError("here"), "LeavesError: here"),
        (NotImplementedError(), "NotImplementedError"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_any_exception_of_a_pass_is_one_sentence(error: BaseException, words: str) -> None:
    network = Picky(error).eval()
    probe = Probe(network, resolve_layers(network, ["conv", "last"], "net", SIZE))
    with pytest.raises(ModelError) as caught:
        probe.activations(images())
    assert str(caught.value) == f"The network fails on images of 20x28 ({words})."


def test_ctrl_c_in_a_pass_stays_one() -> None:
    network = Picky(KeyboardInterrupt()).eval()
    probe = Probe(network, resolve_layers(network, ["last"], "net", SIZE))
    with pytest.raises(KeyboardInterrupt):
        probe.activations(images())


def test_what_fails_behind_the_layers_is_no_failure() -> None:
    class Hides(nn.Sequential):
        """Swallows whatever ends a pass, and fails later."""

        def forward(self, given: Tensor) -> Tensor:
            try:
                super().forward(given)
            except BaseException:
                raise ValueError("of something else") from None
            return given

    network = Hides(nn.Conv2d(3, 4, 3)).eval()
    probe = Probe(network, resolve_layers(network, ["0"], "net", SIZE))
    assert probe.activations(images())["0"].shape == (2, 4, 18, 26)


def test_a_size_is_named_only_where_it_works() -> None:
    said = sentence(Tied(), images())
    assert said.startswith("It fails (RuntimeError: mat1 and mat2 shapes cannot be multiplied")
    assert said.endswith("; it runs at --size 32.")
    assert "--size" not in sentence(Picky(ValueError("why")), images())
    assert sentence(Picky(ValueError("not square"), at=32), images()).endswith("; it runs at --size 32.")


def test_a_size_must_work_up_to_the_layers_alone() -> None:
    network = nn.Sequential(Tied(), Picky(ValueError("never"))).eval()
    assert working_size(network, images(), ["0"]) == (32, 32)
    assert working_size(network, images(), ["1"]) is None
    assert not reaches(network, images(), ["0"])
    assert reaches(network, images(), ["0.conv"])


def test_a_network_that_takes_one_image_has_no_trouble_with_its_size() -> None:
    class Single(Tied):
        def forward(self, given: Tensor) -> Tensor:
            if len(given) > 1:
                raise ValueError("one at a time")
            return given

    assert sentence(Single(), images()) == "It fails (ValueError: one at a time)."


def test_other_inputs_get_an_adapter() -> None:
    class Two(nn.Module):
        def forward(self, given: Tensor, mask: Tensor) -> Tensor:
            return given * mask

    class Model(nn.Module):
        def forward(self, input_ids: Tensor, pixel_values: Tensor | None = None) -> Tensor:
            raise ValueError("You have to specify pixel_values")

    for network, why in (
        (Two(), "it takes more than a batch of images"),
        (Model(), "its first input is input_ids and not the images"),
        (nn.Conv2d(4, 6, 3), "its first convolution takes 4 channels, and images have 3"),
        (nn.Embedding(10, 4), "it takes whole numbers"),
    ):
        said = sentence(network, images())
        assert f"; {why}" in said
        assert "--size" not in said
        code = said[said.index("    class Adapter") :].replace("build()", "torch.nn.Identity()").replace("…", "")
        compile("import torch\n" + "\n".join(line[4:] for line in code.splitlines()), "adapter", "exec")


def test_a_network_in_another_type_is_told() -> None:
    class Double(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, given: Tensor) -> Tensor:
            found: Tensor = self.conv(given.double())
            return found

    assert "images and weights are float32, whatever the weights were" in sentence(Double(), images())


def test_channels_are_those_that_a_network_runs_with() -> None:
    class Either(nn.Sequential):
        def forward(self, given: Tensor) -> Tensor:
            found: Tensor = super().forward(given.expand(-1, 3, -1, -1))
            return found

    class Repeats(nn.Sequential):
        def forward(self, given: Tensor) -> Tensor:
            found: Tensor = super().forward(given.repeat(1, 3, 1, 1))
            return found

    beside = nn.Sequential(nn.Conv2d(3, 4, 3))
    beside.register_module("luma", nn.Conv2d(1, 1, 1))
    for network, channels in (
        (nn.Sequential(nn.Conv2d(3, 4, 3)), 3),
        (nn.Sequential(nn.BatchNorm2d(1), nn.Conv2d(1, 4, 3)), 1),
        (nn.Sequential(nn.Flatten(), nn.Linear(20 * 28, 4)), 1),
        (Either(nn.Conv2d(3, 4, 3)), 3),
        (Repeats(nn.Conv2d(3, 4, 3)), 1),
        (nn.Sequential(nn.Conv2d(4, 4, 3)), 3),
        (nn.ReLU(), 3),
    ):
        assert input_channels(network.eval(), SIZE) == channels
    assert image_channels(Either(nn.Conv2d(3, 4, 3)), SIZE, "grey", "net") == 1
    assert image_channels(Either(nn.Conv2d(3, 4, 3)), SIZE, "bgr", "net") == 3
    with pytest.raises(ModelError, match="net takes one channel and not rgb; use --channels grey"):
        image_channels(nn.Conv2d(1, 4, 3), SIZE, "rgb", "net")
    with pytest.raises(ModelError, match="net takes three channels and not grey; leave --channels out"):
        image_channels(nn.Conv2d(3, 4, 3), SIZE, "grey", "net")
