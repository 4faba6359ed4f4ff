"""The concepts of the built-in scenes and their ids."""

from __future__ import annotations

CATEGORIES = ("color", "object", "part", "material", "scene", "texture")  # as index.csv orders its columns

COLORS = ("black", "blue", "brown", "green", "grey", "orange", "pink", "purple", "red", "white", "yellow")
SCENES = (
    "street", "night city", "beach", "harbor", "forest", "farm", "desert", "mountain", "kitchen", "living room",
)  # fmt: skip
TEXTURES = (
    "striped", "dotted", "chequered", "zigzagged", "grid", "honeycombed", "swirly", "marbled", "flecked", "woven",
    "scaly", "crosshatched",
)  # fmt: skip
MATERIALS = (
    "brick", "wood", "metal", "glass", "foliage", "water", "sand", "fabric", "stone", "tile", "concrete", "skin",
    "plastic", "snow",
)  # fmt: skip
OBJECTS = (
    "sky", "cloud", "sun", "moon", "sea", "grass", "road", "ground", "mountain", "rock", "tree", "palm",
    "pine tree", "cactus", "flower", "house", "building", "barn", "lighthouse", "fence", "pier", "car", "bus",
    "boat", "person", "cow", "umbrella", "ball", "tent", "street lamp", "traffic light", "wall", "floor", "window",
    "door", "curtain", "painting", "sofa", "chair", "table", "lamp", "cabinet", "stove", "pot", "rug",
)  # fmt: skip
PARTS = (
    "wall", "roof", "door", "window", "chimney", "trunk", "crown", "frond", "petal", "stem", "body", "wheel", "rim",
    "headlight", "hull", "mast", "sail", "head", "hair", "torso", "arm", "leg", "canopy", "pole", "bulb", "shade",
    "top", "back", "seat", "handle", "frame", "pane", "peak", "burner",
)  # fmt: skip

# Broden marks colours and scenes so that "orange" the colour is not "orange" the fruit.
NAMES: dict[str, tuple[str, ...]] = {
    "color": tuple(f"{name}-c" for name in COLORS),
    "object": OBJECTS,
    "part": PARTS,
    "material": MATERIALS,
    "scene": tuple(f"{name}-s" for name in SCENES),
    "texture": TEXTURES,
}


def _number_names() -> dict[str, int]:
    """Count ids from 1; a name of two categories (a door is an object and a part) is one concept."""
    numbers: dict[str, int] = {}
    for category in CATEGORIES:
        for name in NAMES[category]:
            numbers.setdefault(name, len(numbers) + 1)
    return numbers


NUMBERS = _number_names()
