"""Vision networks of transformers from small configurations: no weights, no network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import transformers as hf
from judge import Documented
from roster import Network, Size
from torch import Tensor, nn

WIDTH: dict[str, Any] = {
    "hidden_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 3,
    "intermediate_size": 96,
}
PYRAMID: dict[str, Any] = {"embed_dim": 24, "depths": [2, 2, 2], "num_heads": [2, 4, 8], "window_size": 4}
STAGES: dict[str, Any] = {"hidden_sizes": [16, 24, 32], "depths": [1, 2, 2]}


QUERIES = (
    "model.decoder",
    "model.decoder.layernorm*",
    "model.decoder.layers.?",
    "model.decoder.layers.?.self_attn*",
    "model.decoder.layers.?.encoder_attn",
    "model.decoder.layers.?.encoder_attn.[qo]*",
    "model.decoder.layers.?.*norm",
    "model.decoder.layers.?.mlp*",
    "model.decoder.layers.?.fc*",
    "class_labels*",
    "bbox*",
)


class Interpolating(nn.Module):
    """A network whose position embeddings are stretched to the image."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Any:
        return self.network(pixel_values=images, interpolate_pos_encoding=True)


def _network(
    name: str,
    make: Callable[[Size], nn.Module],
    first: int = 0,
    last: int = 0,
    sizes: tuple[Size, ...] = ((64, 64), (64, 96)),
    placeless: tuple[str, ...] = (),
) -> Network:
    return Network(f"transformers:{name}", make, sizes, Documented(first, last, placeless))


def _detr(size: Size) -> nn.Module:
    backbone = hf.ResNetConfig(
        embedding_size=16,
        hidden_sizes=[16, 24, 32, 48],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=["stage4"],
    )
    config = hf.DetrConfig(
        backbone_config=backbone,
        use_timm_backbone=False,
        use_pretrained_backbone=False,
        backbone=None,
        d_model=48,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        num_queries=12,
    )
    return hf.DetrForObjectDetection(config)


def _mae(size: Size) -> nn.Module:
    # Even without a mask, tokens are in an order of chance.
    config = hf.ViTMAEConfig(image_size=size, patch_size=16, mask_ratio=0.0, **WIDTH)
    return hf.ViTMAEModel(config)


def transformers_networks() -> list[Network]:
    """All of them."""
    square = ((64, 64),)
    return [
        _network("vit", lambda s: hf.ViTModel(hf.ViTConfig(image_size=s, patch_size=16, **WIDTH)), 1),
        _network(
            "clip",
            lambda s: Interpolating(hf.CLIPVisionModel(hf.CLIPVisionConfig(image_size=64, patch_size=16, **WIDTH))),
            1,
        ),
        _network(
            "siglip",
            lambda s: Interpolating(hf.SiglipVisionModel(hf.SiglipVisionConfig(image_size=64, patch_size=16, **WIDTH))),
        ),
        _network(
            "dinov2",
            lambda s: hf.Dinov2Model(hf.Dinov2Config(image_size=64, patch_size=16, mlp_ratio=2, **_plain())),
            1,
        ),
        _network(
            "dinov2-registers",
            lambda s: hf.Dinov2WithRegistersModel(
                hf.Dinov2WithRegistersConfig(
                    image_size=64, patch_size=16, mlp_ratio=2, num_register_tokens=4, **_plain()
                )
            ),
            5,
        ),
        _network(
            "dinov3-vit",
            lambda s: hf.DINOv3ViTModel(
                hf.DINOv3ViTConfig(image_size=64, patch_size=16, num_register_tokens=4, **WIDTH)
            ),
            5,
        ),
        _network(
            "dinov3-convnext",
            lambda s: hf.DINOv3ConvNextModel(
                hf.DINOv3ConvNextConfig(hidden_sizes=[16, 24, 32, 48], depths=[1, 1, 2, 1])
            ),
            1,  # the mean of the places, in the last norm alone
        ),
        _network("swin", lambda s: hf.SwinModel(hf.SwinConfig(image_size=s, patch_size=4, **PYRAMID))),
        _network("swinv2", lambda s: hf.Swinv2Model(hf.Swinv2Config(image_size=s, patch_size=4, **PYRAMID))),
        _network(
            "yolos",
            lambda s: hf.YolosModel(hf.YolosConfig(image_size=list(s), patch_size=16, num_detection_tokens=7, **WIDTH)),
            1,
            7,
        ),
        _network(
            "hiera",
            lambda s: hf.HieraModel(
                hf.HieraConfig(image_size=list(s), embed_dim=24, depths=[1, 2, 2, 1], num_heads=[1, 2, 4, 8])
            ),
            sizes=((96, 96), (96, 128)),
        ),
        # As many queries as there are places at the second size; what they look at has places.
        _network("detr", _detr, sizes=((96, 96), (96, 128)), placeless=QUERIES),
        _network("beit", lambda s: hf.BeitModel(hf.BeitConfig(image_size=64, patch_size=16, **WIDTH)), 1, sizes=square),
        _network("mae", _mae, 1, placeless=("embeddings", "layers*", "layernorm", "encoder*")),
        _network(
            "segformer",
            lambda s: hf.SegformerModel(
                hf.SegformerConfig(hidden_sizes=[16, 24, 32, 48], depths=[1, 1, 1, 1], num_attention_heads=[1, 2, 4, 8])
            ),
        ),
        _network(
            "convnext",
            lambda s: hf.ConvNextModel(hf.ConvNextConfig(hidden_sizes=[16, 24, 32, 48], depths=[1, 1, 2, 1])),
        ),
        _network(
            "resnet",
            lambda s: hf.ResNetModel(
                hf.ResNetConfig(
                    embedding_size=16, hidden_sizes=[16, 24, 32, 48], depths=[1, 1, 1, 1], layer_type="basic"
                )
            ),
        ),
    ]


def _plain() -> dict[str, Any]:
    return {key: value for key, value in WIDTH.items() if key != "intermediate_size"}
