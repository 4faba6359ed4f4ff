"""What was published of a network, to stand beside what was found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ndengine.models.zoo.published import Published
from ndengine.models.zoo.rows import find_row


def published_of(settings: Mapping[str, Any], layer: str) -> Published | None:
    """What was released of a layer that was dissected with these recorded settings, on the whole of Broden.

    None where nothing was, or where the run's network was another than the published one: one with drawn weights, or
    one whose units were rotated.
    """
    row = find_row(str(settings.get("model")))
    if row is None or settings.get("rotate") or (settings.get("weights") == "random" and not row.is_random):
        return None
    return row.published_at(layer)
