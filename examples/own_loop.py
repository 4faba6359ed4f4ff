"""The kernels in a loop of your own: any activations, any label maps, no files.

Run it from anywhere: ``python examples/own_loop.py``.
"""

import numpy as np
import torch

from ndkernels.grid import make_grid
from ndkernels.labels import count_concepts, encode_labels
from ndkernels.sieve import Sieve, expand_survivors, rank_above, select_thresholds
from ndkernels.tally import UnitCounts, tally_units

IMAGES, UNITS, CONCEPTS = 40, 6, 3
MAPS, LABELS = (7, 7), (56, 56)

# Labels: every image has one map with a square of concept 1, 2 or 3 (0 is "none"), and no whole-image label.
rng = np.random.default_rng(0)
concept = rng.integers(1, CONCEPTS + 1, IMAGES)
corner = rng.integers(0, 28, (IMAGES, 2))
label_maps = []
for c, (y, x) in zip(concept, corner, strict=True):
    label_map = np.zeros((1, *LABELS), np.int32)
    label_map[0, y : y + 28, x : x + 28] = c
    label_maps.append(label_map)
labels = encode_labels(label_maps, [[] for _ in label_maps], LABELS)

# Activations: noise, but unit 2 follows the squares of concept 1.
activations = torch.randn(IMAGES, UNITS, *MAPS, generator=torch.Generator().manual_seed(0))
target = torch.from_numpy(np.stack([(m == 1).astype(np.float32) for m in label_maps]))
activations[:, 2] += 6 * torch.nn.functional.adaptive_avg_pool2d(target, MAPS)[:, 0]

# Sieve the activations batch by batch: what can't matter is dropped as it passes by, and the threshold stays exact.
above = rank_above("0.05", IMAGES * MAPS[0] * MAPS[1])
sieve = Sieve(UNITS, above)
survivors = [sieve.add(activations[i : i + 8], i)[0] for i in range(0, IMAGES, 8)]
thresholds = select_thresholds(lambda: survivors, sieve.bound, above)

# Tally what is left: one call for each batch, all units and concepts at once.
counts = UnitCounts.zeros(UNITS, CONCEPTS, 1)
grid = make_grid("half-pixel", maps=MAPS, labels=LABELS)
category = torch.zeros(CONCEPTS, dtype=torch.int32)  # all concepts are of one category
for part in survivors:
    maps = expand_survivors(part, thresholds)
    tally_units(maps, part.unit, part.image, thresholds, grid, labels, category, counts, area="all")

area, _ = count_concepts(labels, CONCEPTS, once=True)
union = counts.unit_area_all[:, None] + torch.from_numpy(area) - counts.intersection
iou = counts.intersection / union
for unit in range(UNITS):
    best = int(iou[unit].argmax())
    print(f"unit {unit}: concept {best + 1}, IoU {iou[unit, best]:.3f}")
