"""The released counts of detectors: 26 networks, each dissected at one layer on the whole of Broden.

Unique detectors were counted by category: in each category, a unit counts if its best concept of that category passes
.04, so the total of unique detectors is the sum over categories, while the total of detectors counts each unit once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

CATEGORIES = ("object", "part", "scene", "material", "texture", "color")
DATA = "the whole of Broden"


@dataclass(frozen=True)
class Published:
    """What was released of one network.

    Attributes
    ----------
    network : str
        The name that it has in the released tables.
    layer : str
        The layer that was dissected, as the tables write it.
    units : int
        How many units it has.
    detectors : int
        Units that detect a concept of any category.
    unique : int
        Unique detectors, counted by category: the sum over categories.
    detectors_by_category, unique_by_category : dict of str to int
    is_version : bool
        Whether the network is one of several versions that a row has, so that words name it.
    """

    network: str
    layer: str
    units: int
    detectors: int
    unique: int
    detectors_by_category: dict[str, int]
    unique_by_category: dict[str, int]
    is_version: bool = False

    def sentence(self, name: str) -> str:
        """The figures in words, as those of a network with a name."""
        name = f"{name} ({self.network})" if self.is_version else name
        return (
            f"Published for {name}, {self.layer}: {self.detectors} detectors among {self.units} units, {self.unique} "
            f"unique detectors per category; that is on {DATA}, and other data give other numbers."
        )

    def record(self) -> dict[str, Any]:
        """The figures as plain JSON values."""
        return {
            "network": self.network,
            "layer": self.layer,
            "units": self.units,
            "detectors": self.detectors,
            "unique_per_category": self.unique,
            "by_category": {
                kind: {"detectors": self.detectors_by_category[kind], "unique": self.unique_by_category[kind]}
                for kind in CATEGORIES
            },
            "data": DATA,
        }


def find_published(network: str, *, is_version: bool = False) -> Published | None:
    """What was released of a network by its name in the tables; None where nothing was."""
    if network not in _RELEASED:
        return None
    layer, units, detectors, unique = _RELEASED[network]
    by_category, unique_by_category = (dict(zip(CATEGORIES, counts[1:], strict=True)) for counts in (detectors, unique))
    return Published(network, layer, units, detectors[0], unique[0], by_category, unique_by_category, is_version)


Counts = tuple[int, int, int, int, int, int, int]  # of all, then by category

# Layer, units, detectors, unique detectors.
_RELEASED: dict[str, tuple[str, int, Counts, Counts]] = {
    "caffenet_random": ("conv5", 256, (9, 0, 0, 0, 0, 9, 0), (2, 0, 0, 0, 0, 2, 0)),
    "caffe_reference_imagenet": ("conv5", 256, (97, 49, 26, 5, 4, 45, 6), (61, 21, 8, 4, 1, 23, 4)),
    "caffe_reference_places205": ("conv5", 256, (107, 78, 14, 17, 4, 31, 2), (79, 36, 8, 12, 1, 20, 2)),
    "caffe_reference_imagenetplaces205": ("conv5", 256, (115, 69, 31, 17, 2, 47, 4), (85, 35, 8, 12, 1, 26, 3)),
    "caffe_reference_places205_batchnorm": ("conv5", 256, (72, 33, 4, 4, 1, 39, 5), (46, 22, 2, 2, 1, 17, 2)),
    "caffe_reference_places365": ("conv5", 256, (118, 81, 17, 21, 3, 47, 2), (91, 40, 9, 13, 2, 25, 2)),
    "caffe_reference_places365_GAP": ("conv5", 768, (265, 183, 52, 47, 19, 61, 15), (120, 49, 13, 20, 4, 27, 7)),
    "vgg16_imagenet": ("conv5_3", 512, (319, 233, 146, 35, 16, 95, 1), (119, 49, 14, 21, 5, 29, 1)),
    "vgg16_places365": ("conv5_3", 512, (296, 185, 52, 116, 13, 81, 2), (203, 74, 22, 70, 5, 30, 2)),
    "vgg16_places205": ("conv5_3", 512, (317, 200, 65, 149, 15, 64, 1), (209, 78, 22, 74, 7, 27, 1)),
    "vgg16_hybrid1365": ("conv5_3", 512, (320, 220, 104, 111, 22, 86, 2), (208, 75, 26, 64, 8, 33, 2)),
    "googlenet_imagenet": ("inception_5b-output", 1024, (642, 499, 193, 205, 11, 134, 0), (136, 41, 17, 49, 2, 27, 0)),
    "googlenet_places205": ("inception_5b-output", 1024, (818, 385, 101, 743, 22, 108, 36), (174, 44, 9, 89, 2, 26, 4)),
    "googlenet_places365": ("inception_5b-output", 1024, (744, 358, 102, 593, 7, 124, 0), (191, 49, 12, 101, 1, 28, 0)),
    "resnet-152-torch-places365": (
        "caffe.Eltwise_510",
        2048,
        (1452, 774, 308, 1045, 19, 300, 2),
        (347, 84, 26, 188, 5, 42, 2),
    ),
    "resnet-152-torch-imagenet": (
        "caffe.Eltwise_510",
        2048,
        (1325, 858, 268, 494, 49, 407, 3),
        (242, 75, 23, 89, 8, 45, 2),
    ),
    "weakly_deepcontext": ("conv5", 256, (8, 2, 0, 1, 0, 7, 0), (8, 2, 0, 1, 0, 5, 0)),
    "weakly_audio": ("conv5", 256, (48, 9, 4, 1, 0, 38, 0), (24, 7, 3, 1, 0, 13, 0)),
    "weakly_videoorder": ("conv5", 256, (68, 68, 0, 1, 0, 20, 57), (4, 1, 0, 1, 0, 1, 1)),
    "weakly_videotracking": ("conv5", 256, (122, 57, 0, 21, 0, 65, 28), (41, 7, 0, 8, 0, 18, 8)),
    "weakly_egomotion": ("cls_conv5", 256, (37, 5, 0, 3, 0, 30, 5), (15, 2, 0, 1, 0, 10, 2)),
    "weakly_learningbymoving": ("conv5", 256, (60, 11, 0, 2, 0, 42, 12), (18, 5, 0, 1, 0, 9, 3)),
    "weakly_objectcentric": ("conv5", 256, (89, 15, 2, 9, 0, 63, 14), (37, 5, 1, 4, 0, 20, 7)),
    "weakly_solvingpuzzle": ("conv5_s1", 256, (36, 23, 2, 1, 0, 15, 0), (16, 5, 1, 1, 0, 9, 0)),
    "weakly_colorization": ("conv5", 256, (62, 5, 2, 0, 0, 59, 0), (18, 2, 1, 0, 0, 15, 0)),
    "weakly_splitbrain": ("conv5", 256, (41, 24, 0, 0, 0, 16, 12), (16, 3, 0, 0, 0, 10, 3)),
}
