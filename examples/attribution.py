"""Score the maps of an attribution method against labels, with the same kernels that score units.

Here the method is gradient times activation at a layer of a small network with random weights. Captum's
``LayerGradCam`` and zennit's attributors give tensors of the same shape: pass them to ``tally_units`` in place of
``maps``.

Run it from anywhere: ``python examples/attribution.py``.
"""

import numpy as np
import torch
from torch import nn

from ndkernels.grid import make_grid
from ndkernels.labels import encode_labels
from ndkernels.tally import UnitCounts, tally_units

torch.manual_seed(0)
features = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU())
network = nn.Sequential(features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))
images = torch.randn(8, 3, 64, 64)
label_maps = [np.random.default_rng(i).integers(0, 5, (1, 32, 32)) for i in range(8)]
labels = encode_labels(label_maps, [[] for _ in label_maps], (32, 32))

# One map for each image: the first class's gradient times the activation, summed over channels.
kept: dict[str, torch.Tensor] = {}
features.register_forward_hook(lambda module, inputs, output: kept.update(layer=output))
scores = network(images)[:, 0].sum()
(gradient,) = torch.autograd.grad(scores, kept["layer"])
maps = (gradient * kept["layer"]).sum(dim=1).detach()  # [8, h, w]

# A map of each image is all there is: one unit, whose threshold keeps the top 10 % of positions.
threshold = maps.flatten().quantile(0.9).reshape(1)
counts = UnitCounts.zeros(units=1, concepts=4, categories=1)
tally_units(
    maps,
    torch.zeros(8, dtype=torch.int32),
    torch.arange(8, dtype=torch.int32),
    threshold,
    make_grid("half-pixel", maps=(maps.shape[1], maps.shape[2]), labels=(32, 32)),
    labels,
    torch.zeros(4, dtype=torch.int32),
    counts,
)
share = counts.intersection[0] / counts.unit_area_all[0]
for concept, value in enumerate(share.tolist(), start=1):
    print(f"concept {concept} covers {value:.1%} of what the method marks")
