"""Families of timm: the smallest network of each, less deep where that is large."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import timm
from judge import Documented
from roster import SIZES, Network, Size
from torch import nn

NARROW = {"depth": 3, "embed_dim": 96, "num_heads": 3}
MIXER = ("*.mlp_tokens.fc1", "*.mlp_tokens.fc2")
# Inside a mixing of positions, a unit's answer to all positions stands where the positions were.
INSIDE_MIXER = ("*.mlp_tokens.fc1", "*.mlp_tokens.act", "*.mlp_tokens.drop1", "*.mlp_tokens.norm", "*.mlp_tokens.gate")


@dataclass(frozen=True)
class Kind:
    """A network of timm's and how it is made.

    Attributes
    ----------
    name : str
    extra : int
        Tokens before the grid's.
    options : mapping
        What it is created with.
    sized : bool
        Whether it is made for one size of images.
    sizes : tuple
        Sizes that it is looked at.
    blocks : int
        How many of its ``blocks`` stay; 0 for all.
    mixers : tuple of str
        Patterns of linear layers that mix positions.
    placeless : tuple of str
        Patterns of layers that have no places.
    """

    name: str
    extra: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)
    sized: bool = False
    sizes: tuple[Size, ...] = SIZES
    blocks: int = 0
    mixers: tuple[str, ...] = ()
    placeless: tuple[str, ...] = ()

    def network(self) -> Network:
        """The roster's entry."""

        def make(size: Size) -> nn.Module:
            sized = {"img_size": size} if self.sized else {}
            network = timm.create_model(self.name, pretrained=False, **self.options, **sized)
            if self.blocks:
                network.blocks = network.blocks[: self.blocks]
            return network

        documented = Documented(self.extra, placeless=self.placeless)
        return Network(f"timm:{self.name}", make, self.sizes, documented, self.mixers)


PATCH14 = ((84, 84), (84, 112))
KINDS = (
    # Tokens: class and register tokens first, then the grid row by row.
    Kind("vit_tiny_patch16_224", 1, {"depth": 4}, sized=True),
    Kind("vit_small_patch14_reg4_dinov2", 5, NARROW, sized=True, sizes=PATCH14),
    Kind("vit_pwee_patch16_reg1_gap_256", 1, {"depth": 3}, sized=True),
    Kind("vit_so400m_patch14_siglip_gap_224", 0, NARROW, sized=True, sizes=PATCH14),
    Kind("vit_base_patch16_siglip_224", 0, NARROW, sized=True),
    Kind("vit_relpos_small_patch16_224", 0, {"depth": 3}, sized=True),
    Kind("vit_small_patch16_dinov3", 5, {"depth": 3}),
    Kind("flexivit_small", 1, {"depth": 3}, sized=True),
    Kind("aimv2_1b_patch14_224", 0, {"depth": 2, "embed_dim": 96, "num_heads": 3}, sized=True, sizes=PATCH14),
    Kind("eva02_tiny_patch14_224", 1, {"depth": 3}, sized=True, sizes=PATCH14),
    Kind("beit_base_patch16_224", 1, NARROW, sized=True),
    Kind("beitv2_base_patch16_224", 1, NARROW, sized=True),
    Kind("deit_tiny_distilled_patch16_224", 2, {"depth": 3}, sized=True),
    Kind("deit3_small_patch16_224", 1, {"depth": 3}, sized=True),
    Kind("cait_xxs24_224", 1, {"depth": 3}, sized=True),
    Kind("xcit_nano_12_p16_224", 1, {"depth": 3}),
    Kind("crossvit_9_240", 1),
    Kind("tnt_s_patch16_224", 1, {"depth": 3}, sized=True),
    Kind("pit_ti_224", 1, sized=True),
    Kind("convit_tiny", 1, {"depth": 3, "local_up_to_layer": 2}, sized=True, sizes=((96, 96),)),
    Kind("levit_128s", sized=True),
    Kind("levit_conv_128s", sized=True),
    Kind("naflexvit_base_patch16_gap", 4, NARROW),
    Kind("samvit_base_patch16_224", 0, NARROW, sized=True),
    Kind("vit_small_r26_s32_224", 1, {"depth": 2}, sized=True),
    Kind("mixer_s16_224", 0, sized=True, blocks=3, mixers=MIXER, placeless=INSIDE_MIXER),
    Kind("gmixer_12_224", 0, sized=True, blocks=3, mixers=MIXER, placeless=INSIDE_MIXER),
    Kind("resmlp_12_224", 0, sized=True, blocks=3, mixers=("*.linear_tokens",)),
    Kind("gmlp_ti16_224", 0, sized=True, blocks=3, mixers=("*.gate.proj",)),
    # Stages, windows, units last.
    Kind("swin_tiny_patch4_window7_224", 0, {"depths": (2, 2, 2, 2)}, sized=True),
    Kind("swinv2_tiny_window8_256", 0, {"depths": (2, 2, 2, 2)}, sized=True),
    Kind("swinv2_cr_tiny_ns_224", 0, {"depths": (2, 2, 2, 2)}, sized=True),
    Kind("maxvit_rmlp_pico_rw_256", 0, sized=True),
    Kind("coatnet_pico_rw_224", 0, sized=True),
    Kind("hiera_tiny_224", 0, sized=True),
    Kind("sam2_hiera_tiny"),
    Kind("nest_tiny", 0, sized=True, sizes=((96, 96),)),
    Kind("coat_tiny", 1, sized=True),
    Kind("coat_lite_tiny", 1, sized=True),
    Kind("mvitv2_tiny"),
    Kind("mvitv2_small_cls", 1),
    Kind("pvt_v2_b0"),
    Kind("twins_pcpvt_small", 0, {"depths": (2, 2, 2, 2)}),
    Kind("twins_svt_small", 0, {"depths": (2, 2, 2, 2)}),
    Kind("volo_d1_224", 1, sized=True),
    Kind("gcvit_xxtiny", 0, sized=True),
    Kind("davit_tiny"),
    Kind("focalnet_tiny_srf"),
    Kind("edgenext_xx_small"),
    Kind("mobilevit_xxs"),
    Kind("mobilevitv2_050"),
    Kind("tiny_vit_5m_224"),
    Kind("efficientformer_l1", sizes=((224, 224),)),
    Kind("efficientformerv2_s0", sized=True),
    Kind("efficientvit_b0"),
    Kind("efficientvit_m0"),
    Kind("efficientvim_m1"),
    Kind("visformer_tiny", sized=True),
    Kind("vitamin_small_224", sized=True),
    Kind("nextvit_small"),
    Kind("swiftformer_xs"),
    Kind("mobilenetv4_hybrid_medium"),
    Kind("botnet26t_256", sized=True),
    Kind("fastvit_t8"),
    Kind("caformer_s18"),
    Kind("sequencer2d_s"),
    Kind("shvit_s1"),
    # Convolutions.
    Kind("convmixer_1024_20_ks9_p14", sizes=PATCH14, blocks=3),
    Kind("poolformer_s12"),
    Kind("mambaout_femto"),
    Kind("convnext_atto"),
    Kind("convnextv2_atto"),
    Kind("inception_next_atto"),
    Kind("regnety_002"),
    Kind("mobilenetv4_conv_small_035"),
    Kind("repvit_m1"),
    Kind("starnet_s050"),
    Kind("rdnet_tiny"),
    Kind("ghostnet_050"),
    Kind("csatv2"),
    Kind("hrnet_w18_small"),
    Kind("vgg11"),
    Kind("resnet10t"),
    Kind("densenet121"),
    Kind("nfnet_l0"),
)


def timm_networks() -> list[Network]:
    """All of them."""
    return [kind.network() for kind in KINDS]
