"""Every layer that is listed, of many kinds of networks, lies as the engine says; checked without the engine's proof.

``python -m benchmarks.layer_proofs`` does the same for the whole roster.
"""

from __future__ import annotations

from itertools import pairwise

import pytest
from engine import Listed, ask_engine
from judge import Verdict, judge, units_change
from quiet import local_attention, make_local
from roster import Network, Size, all_networks

NETWORKS = {network.name: network for network in all_networks()}

QUICK = (
    "torchvision:squeezenet1_1",
    "timm:vit_small_patch14_reg4_dinov2",
    "timm:beit_base_patch16_224",
    "timm:samvit_base_patch16_224",
    "timm:starnet_s050",
    "transformers:vit",
    "transformers:swin",
    "transformers:yolos",
    "transformers:hiera",
    "transformers:detr",
    "transformers:mae",
    "transformers:convnext",
)
SLOW = (
    *(f"torchvision:{name}" for name in (
        "alexnet", "densenet121", "efficientnet_b0", "googlenet", "inception_v3", "maxvit_t", "mnasnet0_5",
        "mobilenet_v3_small", "regnet_y_400mf", "resnet18", "shufflenet_v2_x0_5", "swin_t", "swin_v2_t", "vit_b_32",
    )),
    *(f"timm:{name}" for name in (
        "cait_xxs24_224", "coat_lite_tiny", "convnextv2_atto", "crossvit_9_240", "deit_tiny_distilled_patch16_224",
        "edgenext_xx_small", "efficientformer_l1", "efficientvit_m0", "eva02_tiny_patch14_224", "focalnet_tiny_srf",
        "gcvit_xxtiny", "gmlp_ti16_224", "hiera_tiny_224", "hrnet_w18_small",  "mambaout_femto",
        "maxvit_rmlp_pico_rw_256", "mixer_s16_224", "mobilenetv4_conv_small_035", "mobilevit_xxs", "mobilevitv2_050",
        "mvitv2_tiny", "nest_tiny", "poolformer_s12", "pvt_v2_b0", "regnety_002", "resmlp_12_224", "resnet10t",
        "swin_tiny_patch4_window7_224", "swinv2_tiny_window8_256", "tnt_s_patch16_224", "twins_svt_small",
        "volo_d1_224", "xcit_nano_12_p16_224",
    )),
    *(name for name in NETWORKS if name.startswith("transformers:") and name not in QUICK),
)  # fmt: skip


def look(network: Network, size: Size) -> tuple[Listed, dict[str, Verdict]]:
    """What the engine lists of a network, and what the check says of it."""
    module = network.build(size)
    listed = ask_engine(module, size, network.name)
    make_local(module, size, network.mixers)
    with local_attention():
        return listed, judge(module, listed.reader, listed.shapes, size, network.documented)


def check(name: str) -> None:
    """No layer that is listed is read wrongly, at any size, and the check can tell of most."""
    network, shapes = NETWORKS[name], []
    for size in network.sizes:
        listed, verdicts = look(network, size)
        assert {layer: v.why for layer, v in verdicts.items() if v.outcome == "wrong"} == {}
        letters = {layer: (listed.axes[layer], v.letters) for layer, v in verdicts.items()}
        assert {layer: pair for layer, pair in letters.items() if not same_order(*pair)} == {}
        undecided = [layer for layer, v in verdicts.items() if v.outcome == "undecided"]
        assert len(undecided) <= len(verdicts) / 8, undecided
        assert any(v.outcome == "right" and max(listed.shapes[layer][1:]) > 1 for layer, v in verdicts.items())
        shapes.append(listed.shapes)
    assert [layer for first, then in pairwise(shapes) for layer in units_change(first, then)] == []


def same_order(said: str, found: str) -> bool:
    """Whether the engine's letters are those found; dims of length one are no matter."""
    return sorted(said) != sorted(found) or said == found


@pytest.mark.parametrize("name", QUICK)
def test_layers_lie_as_they_are_listed(name: str):
    check(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_layers_of_more_kinds_lie_as_they_are_listed(name: str):
    check(name)
