"""Receptive fields: the published values, and gradients, which know them from what autograd does."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable

import caffenets
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from ndengine.models.fields import FieldMode
from ndengine.models.torchvision_import import torchvision_models
from ndengine.models.trace import field_map, trace_model
from ndkernels.grid import Field

Numbers = tuple[int, int, int]


def numbers(field: tuple[Field, Field] | None) -> tuple[Numbers, Numbers] | None:
    return field and tuple((f.offset, f.size, f.stride) for f in field)  # type: ignore[return-value]


def field_of(network: nn.Module, size: tuple[int, int] = (64, 48)) -> tuple[Numbers, Numbers] | None:
    return numbers(field_map(nn.Sequential(network.eval()), ["0"], size)["0"])


def hollow(name: str) -> nn.Module:
    """A torchvision network without its weights' data: quick to build."""
    models = torchvision_models()
    extra = {"init_weights": False} if name.startswith(("googlenet", "inception", "vgg")) else {}
    with torch.device("meta"):
        network: nn.Module = models.get_model_builder(name)(weights=None, **extra)
    return network.eval()


PUBLISHED: list[tuple[str, Callable[[], nn.Module], int, str, Numbers, int]] = [
    ("alexnet conv1", caffenets.alexnet, 227, "1", (0, 11, 4), 55),
    ("alexnet conv2", caffenets.alexnet, 227, "5", (-16, 51, 8), 27),
    ("alexnet conv5", caffenets.alexnet, 227, "13", (-64, 163, 16), 13),
    ("vgg16 conv5_3", lambda: hollow("vgg16"), 224, "features.29", (-90, 196, 16), 14),
    ("vgg16 conv4_3", lambda: hollow("vgg16"), 224, "features.22", (-42, 92, 8), 28),
    ("vgg16 conv3_3", lambda: hollow("vgg16"), 224, "features.15", (-18, 40, 4), 56),
    ("googlenet 5b", caffenets.GoogLeNet, 224, "inception_5b", (-327, 715, 32), 7),
    ("googlenet 4e", caffenets.GoogLeNet, 224, "inception_4e", (-199, 427, 16), 14),
    ("googlenet 3b", caffenets.GoogLeNet, 224, "inception_3b", (-39, 91, 8), 28),
    ("resnet152 res5c", caffenets.resnet152, 224, "51", (-751, 1507, 32), 7),
    ("squeezenet", lambda: hollow("squeezenet1_1"), 224, "features.12", (-88, 207, 16), 13),
]


@pytest.mark.parametrize(
    ("build", "size", "path", "field", "samples"), [row[1:] for row in PUBLISHED], ids=[row[0] for row in PUBLISHED]
)
def test_published_fields(build: Callable[[], nn.Module], size: int, path: str, field: Numbers, samples: int) -> None:
    network = build().eval()
    step = trace_model(network, (size, size)).steps[path]
    assert step.shape is not None
    assert step.shape[2:] == (samples, samples)
    assert numbers(field_map(network, [path], (size, size))[path]) == (field, field)


def positive(network: nn.Module) -> nn.Module:
    """The network with positive weights, no offsets, and means for maxima: every pixel of a field has a gradient."""
    network = copy.deepcopy(network)
    for head in ("classifier", "fc"):
        if hasattr(network, head):
            setattr(network, head, nn.Identity())
    network = network.to_empty(device="cpu").double().eval()
    for name, tensor in network.state_dict().items():
        kind = name.rpartition(".")[2]
        if tensor.is_floating_point():
            tensor.fill_(1 / tensor[0].numel() if tensor.dim() > 1 else float(kind in ("weight", "running_var")))
    for parent in list(network.modules()):
        for name, part in parent.named_children():
            if isinstance(part, nn.MaxPool2d):
                mean = nn.AvgPool2d(part.kernel_size, part.stride, part.padding, part.ceil_mode)
                setattr(parent, name, mean)
    return network


def support(network: nn.Module, path: str, size: tuple[int, int]) -> tuple[list[tuple[range, range]], tuple[int, int]]:
    """Input rows and columns with a gradient from one position of a layer, for a middle and an off-centre one."""

    class Reached(Exception):  # noqa: N818
        pass

    def stop(module: nn.Module, inputs: object, output: Tensor) -> None:
        raise Reached(output)

    network.get_submodule(path).register_forward_hook(stop)
    images = torch.rand(1, 3, *size, dtype=torch.float64, requires_grad=True)
    with pytest.raises(Reached) as reached:
        network(images)
    output: Tensor = reached.value.args[0]
    h, w = output.shape[2:]
    found = []
    for row, column in ((h // 2, w // 2), (h // 3, 2 * w // 3)):
        (gradient,) = torch.autograd.grad(output[0, :, row, column].sum(), images, retain_graph=True)
        seen = gradient[0].abs().sum(0) > 0
        rows, columns = (torch.nonzero(seen.any(1 - axis))[:, 0].tolist() for axis in (0, 1))
        assert seen[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        found.append((range(rows[0], rows[-1] + 1), range(columns[0], columns[-1] + 1)))
    return found, (h, w)


def check_support(network: nn.Module, path: str, size: tuple[int, int]) -> None:
    fields = field_map(network, [path], size)[path]
    assert fields is not None
    found, (h, w) = support(positive(network), path, size)
    for (row, column), seen in zip(((h // 2, w // 2), (h // 3, 2 * w // 3)), found, strict=True):
        for field, place, side, axis in zip(fields, (row, column), size, seen, strict=True):
            first = field.offset + place * field.stride
            assert axis.start == max(first, 0)
            if first + field.size <= side:
                assert axis.stop == first + field.size
            else:  # the last pixels may be in no window at all
                assert side - field.stride < axis.stop <= side


@pytest.mark.parametrize(
    ("name", "path", "size"),
    [
        ("alexnet", "features.11", (227, 195)),
        ("vgg11_bn", "features.18", (65, 97)),
        ("squeezenet1_0", "features.8", (160, 130)),
        ("squeezenet1_1", "features.12", (224, 250)),
        ("googlenet", "inception3b", (128, 160)),
        ("googlenet", "inception4a.branch4", (128, 160)),
        ("resnet18", "layer3", (225, 250)),
        ("densenet121", "features.denseblock2.denselayer2", (96, 120)),
        ("mobilenet_v2", "features.6", (128, 97)),
        ("mnasnet0_5", "layers.9", (128, 128)),
        ("shufflenet_v2_x0_5", "stage2", (128, 96)),
        ("inception_v3", "Mixed_5d", (151, 123)),
    ],
)
def test_gradients_reach_just_the_field(name: str, path: str, size: tuple[int, int]) -> None:
    check_support(hollow(name), path, size)


@pytest.mark.parametrize("seed", range(24))
def test_gradients_reach_just_the_field_of_random_stacks(seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)

    def pick(*options: int) -> int:
        return options[int(torch.randint(len(options), (1,), generator=draw))]

    parts: list[nn.Module] = [nn.ZeroPad2d((pick(0, 2), pick(0, 1), pick(0, 3), pick(0, 2)))]
    for _ in range(pick(2, 3, 4)):
        kernel = (pick(1, 2, 3, 5), pick(1, 3, 4))
        padding = (pick(0, kernel[0] // 2), pick(0, kernel[1] // 2))
        if pick(0, 1, 2):
            # A stride beyond the kernel leaves holes in the field, which a field of one piece does not show.
            stride = (pick(1, min(2, kernel[0])), pick(1, min(3, kernel[1])))
            parts.append(nn.Conv2d(3, 3, kernel, stride, padding, groups=pick(1, 3)))
        else:
            parts.append(
                nn.AvgPool2d(kernel, pick(1, 2) if min(kernel) > 1 else 1, padding, ceil_mode=bool(pick(0, 1)))
            )
    check_support(nn.Sequential(nn.Sequential(*parts)).eval(), "0", (61, 73))


class Doing(nn.Module):
    """A function as a network, behind a convolution of field (-1, 3, 2)."""

    def __init__(self, work: object, channels: int = 4) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, channels, 3, 2, 1)
        self.linear = nn.Linear(channels, channels)
        self.again = nn.Conv2d(channels, channels, 3, 1, 1)
        self.up = nn.ConvTranspose2d(channels, channels, 2, 2)
        self.work = work

    def forward(self, x: Tensor) -> Tensor:
        assert callable(self.work)
        done = self.work(self, self.conv(x))
        assert isinstance(done, Tensor)
        return done


SAME = (-1, 3, 2)
KEPT = {
    "arithmetic": (lambda m, x: torch.sigmoid(x * 2 + 1) / x.clamp(min=0.1), SAME),
    "norm over channels": (lambda m, x: F.layer_norm(x.permute(0, 2, 3, 1), (4,)).permute(0, 3, 1, 2), SAME),
    "group norm": (lambda m, x: F.group_norm(x, 2), SAME),
    "instance norm": (lambda m, x: F.instance_norm(x), SAME),
    "local response norm": (lambda m, x: F.local_response_norm(x, 3), SAME),
    "softmax over units": (lambda m, x: x.softmax(1), SAME),
    "linear on channels last": (lambda m, x: m.linear(x.movedim(1, 3)).movedim(3, 1), SAME),
    "shuffled channels": (lambda m, x: x.view(2, 2, 2, *x.shape[2:]).transpose(1, 2).reshape(x.shape), SAME),
    "flat and back": (lambda m, x: m.linear(x.flatten(2).mT).mT.unflatten(2, x.shape[2:]), SAME),
    "split and joined": (lambda m, x: torch.cat([x[:, :1], *x[:, 1:].chunk(3, 1)], 1), SAME),
    "stacked": (lambda m, x: torch.stack(x.unbind(1), 1), SAME),
    "gate": (lambda m, x: x * m.again(x.mean((2, 3), keepdim=True)).sigmoid(), SAME),
    "gate by linear": (lambda m, x: x * m.linear(x.mean((2, 3)))[:, :, None, None], SAME),
    "global branch": (lambda m, x: torch.cat([x, F.interpolate(x.mean((2, 3), True), x.shape[2:])], 1), SAME),
    "spread by expand": (lambda m, x: x + x.amax((2, 3), True).expand_as(x), SAME),
    "wider branch": (lambda m, x: x + m.again(x), (-3, 7, 2)),
    "wider branch first": (lambda m, x: m.again(x) + x, (-3, 7, 2)),
    "in place": (lambda m, x: m.again(x).add_(x).relu_(), (-3, 7, 2)),
    "side by side": (lambda m, x: x[:, :, :-1, :-1] + x[:, :, 1:, 1:], (-1, 5, 2)),
    "copied": (lambda m, x: torch.empty_like(x).copy_(x), SAME),
    "slice with a step": (lambda m, x: x[:, :, 1::3, 1::3], (1, 3, 6)),
    "cut": (lambda m, x: x[:, :, 2:-2, 2:-2], (3, 3, 2)),
    "cut from the end": (lambda m, x: x[:, :, -5:, -5:], None),  # rows and columns differ: see below
    "padded": (lambda m, x: F.pad(x, (2, 0, 2, 1)), (-5, 3, 2)),
    "cropped": (lambda m, x: F.pad(x, (-2, 0, -2, -1)), (3, 3, 2)),
    "reflected": (lambda m, x: F.pad(x, (1, 2, 1, 1), mode="reflect"), (-3, 3, 2)),
    "dilated": (lambda m, x: F.max_pool2d(x, 3, 1, 1, dilation=2), (-3, 11, 2)),
    "pool of its own stride": (lambda m, x: F.avg_pool2d(x, 3), (-1, 7, 6)),
    "adaptive, as it was": (lambda m, x: F.adaptive_avg_pool2d(x, x.shape[2:]), SAME),
    "adaptive, even cells": (lambda m, x: F.adaptive_max_pool2d(x, (x.shape[2] // 4, x.shape[3] // 4)), (-1, 9, 8)),
    "upsampled by nothing": (lambda m, x: F.interpolate(x, x.shape[2:], mode="bilinear"), SAME),
}
LOST = {
    "adaptive, odd cells": lambda m, x: F.adaptive_avg_pool2d(x, (7, 7)),
    "upsampled": lambda m, x: F.interpolate(x, scale_factor=2.0),
    "transposed convolution": lambda m, x: m.up(x),
    "attention": lambda m, x: (x.flatten(2).mT @ x.flatten(2)).softmax(-1) @ x.flatten(2).mT,
    "softmax over positions": lambda m, x: x.softmax(2),
    "rolled": lambda m, x: x.roll(1, 2),
    "flipped": lambda m, x: x.flip(3),
    "joined along rows": lambda m, x: torch.cat([x, x], 2),
    "windows": lambda m, x: x.unflatten(2, (4, -1)).sum(2),
    "added across": lambda m, x: x[..., :24, :24] + x[..., :24, :24].mT,
    "strides that differ": lambda m, x: x[..., :8, :8] + F.max_pool2d(x, 2)[..., :8, :8],
    "written into a part": lambda m, x: written(x),
    "lost, then copied": lambda m, x: torch.empty_like(x).copy_(x.flip(3)),
    "one row": lambda m, x: x[:, :, 3] * 1,
}


def written(x: Tensor) -> Tensor:
    whole = torch.zeros_like(x)
    whole[:, :2] = x[:, :2]
    return whole


@pytest.mark.parametrize("name", KEPT)
def test_field_behind(name: str) -> None:
    work, field = KEPT[name]
    network = Doing(work)
    if field is None:
        assert field_of(network, (64, 48)) == ((53, 3, 2), (37, 3, 2))
    else:
        assert field_of(network, (64, 48)) == (field, field)


@pytest.mark.parametrize("name", LOST)
def test_no_field_behind(name: str) -> None:
    assert field_of(Doing(LOST[name])) is None


def test_a_copy_replaces_what_got_lost() -> None:
    assert field_of(Doing(lambda m, x: x.flip(3).copy_(x))) == (SAME, SAME)


def test_a_global_pool_sees_everything_there_is() -> None:
    field = field_of(nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.AdaptiveAvgPool2d(1)), (64, 48))
    assert field == ((-1, 65, 64), (-1, 49, 48))


def test_asymmetric_layers_have_different_rows_and_columns() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, (1, 7), (1, 2), (0, 3)), nn.Conv2d(4, 4, (3, 1), dilation=(4, 1)))
    assert field_of(network) == ((0, 9, 1), (-3, 7, 2))


def test_even_kernels_padded_to_the_same_size() -> None:
    assert field_of(nn.Conv2d(3, 4, 4, padding="same")) == ((-1, 4, 1), (-1, 4, 1))


def test_the_input_itself_and_modules_without_maps() -> None:
    network = nn.Sequential(nn.Identity(), nn.Flatten(), nn.Linear(3 * 8 * 8, 2)).eval()
    assert field_map(network, ["0", "1", "2", "3"], (8, 8)) == {
        "0": (Field(0, 1, 1), Field(0, 1, 1)),
        "1": None,
        "2": None,
        "3": None,
    }


def test_a_network_that_needs_numbers_is_followed_on_noise() -> None:
    class Choosing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 2, 5, 3, 2)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.conv(x)
            return out.flip(3) if float(x.sum()) == 0 else out

    assert field_of(Choosing()) == ((-2, 5, 3), (-2, 5, 3))


def test_tracing_leaves_the_network_alone() -> None:
    class Remembering(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 2, 3)
            self.norm = nn.BatchNorm2d(2)
            self.seen: Tensor | None = None

        def forward(self, x: Tensor) -> Tensor:
            self.seen = self.norm(self.conv(x))
            return self.seen

    network = Remembering().eval()
    before = copy.deepcopy(network.state_dict())
    state = torch.get_rng_state()
    assert trace_model(network, (9, 9)).failure == ""
    assert network.seen is None
    assert all(not part._forward_hooks and not part._forward_pre_hooks for part in network.modules())
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)


def test_the_mode_sees_every_tensor_that_is_read() -> None:
    read: list[Tensor] = []
    weight, images = torch.rand(2, 3, 3, 3), torch.rand(1, 3, 8, 8)
    mode = FieldMode(read.append)
    mode.mark_images(images)
    with torch.no_grad(), mode:
        out = F.conv2d(images, weight)
    assert any(t is weight for t in read)
    axes = mode.axes(out)
    assert axes is not None
    assert axes[2][0].field == Field(0, 3, 1)


def test_vgg16_is_traced_in_well_under_a_second() -> None:
    network = hollow("vgg16")
    trace_model(network, (224, 224))
    start = time.perf_counter()
    trace_model(network, (224, 224))
    assert time.perf_counter() - start < 1


def test_what_a_trace_says_of_containers() -> None:
    class Rowed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.row = nn.ModuleList([nn.Conv2d(3, 3, 1) for _ in range(3)])
            self.head = nn.Conv2d(3, 1, 1)

        def forward(self, x: Tensor) -> Tensor:
            for part in self.row:
                x = part(x)
            out: Tensor = self.head(x)
            return out

    trace = trace_model(Rowed().eval(), (64, 48))
    middle = trace.end(["row.1"])
    assert [trace.state(path, middle) for path in ("", "row", "row.0", "row.1", "row.2", "head", "row.9")] == [
        *("running", "running", "done", "done", "untouched", "untouched", "untouched")
    ]
    assert trace.state("row", trace.end(["head"])) == "done"
    assert trace.needs(["row.1", "row.0"]) == {"row.0.weight", "row.0.bias", "row.1.weight", "row.1.bias"}
