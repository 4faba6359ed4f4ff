#!/usr/bin/env bash
# transformers 5.24.0: ViTMAEModel in evaluation mode with mask_ratio=0 keeps every patch, yet in random order.
# Behaviour: tokens of last_hidden_state do not stand in the order of the image, and in another order at each pass; only
# ids_restore in the output tells it. A map of positions made of these tokens is scrambled.
# Seen: "same tokens: True, same order: False" for two passes over one image.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" -q install torch==2.13.0 transformers==5.24.0 2> /dev/null
cd "$work"
env/bin/python - 2> /dev/null <<'PY'
import sys
import torch
import transformers
from transformers.models.vit_mae.configuration_vit_mae import ViTMAEConfig
from transformers.models.vit_mae.modeling_vit_mae import ViTMAEModel
config = ViTMAEConfig(
    image_size=32, patch_size=8, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
    decoder_hidden_size=16, decoder_num_hidden_layers=1, decoder_num_attention_heads=2, mask_ratio=0.0,
)
torch.manual_seed(0)
network, image = ViTMAEModel(config).eval(), torch.rand(1, 3, 32, 32)
with torch.no_grad():
    first, second = network(image), network(image)
ordered = [out.last_hidden_state[:, 1:][torch.arange(1)[:, None], out.ids_restore] for out in (first, second)]
same = torch.allclose(*ordered, atol=1e-5)
order = torch.equal(first.ids_restore, second.ids_restore)
print(f"transformers {transformers.__version__}: same tokens: {same}, same order: {order}")
sys.exit(not (same and not order))
PY
