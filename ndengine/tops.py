"""The images on which each unit fires most, and each unit's range, kept while activations stream by."""

from __future__ import annotations

from copy import copy

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ndengine.devices import CPU


class TopImages:
    """Streaming top images of U units.

    Parameters
    ----------
    units : int
        U.
    count : int
        T, how many images a unit keeps.
    device : torch.device
        Where the maxima come from, and the state is kept.

    Attributes
    ----------
    values, images : Tensor
        ``[U, T]`` float32 and int64: map maxima in descending order and the images they come from, the earlier image
        first among equals; -1 where there are fewer images.
    low, high : Tensor
        ``[U]`` float32: the least and the largest activation so far.
    """

    def __init__(self, units: int, count: int, device: torch.device = CPU) -> None:
        self.values = torch.full((units, count), -torch.inf, device=device)
        self.images = torch.full((units, count), -1, dtype=torch.int64, device=device)
        self.low = torch.full((units,), torch.inf, device=device)
        self.high = torch.full((units,), -torch.inf, device=device)

    def add(self, maximum: Tensor, minimum: Tensor, first_image: int) -> None:
        """Take in a batch: ``maximum`` and ``minimum [N, U]`` of every map, of images from ``first_image`` on."""
        last_image = first_image + len(maximum)
        batch = torch.arange(first_image, last_image, device=maximum.device).expand(len(self.values), -1)
        values = torch.cat([self.values, maximum.T], dim=1)
        images = torch.cat([self.images, batch], dim=1)
        # A stable sort keeps the earlier image first; those already kept are earlier than the batch's.
        values, order = torch.sort(values, dim=1, descending=True, stable=True)
        count = self.values.shape[1]
        self.values, self.images = values[:, :count], images.gather(1, order[:, :count])
        self.low = torch.minimum(self.low, minimum.amin(0))
        self.high = torch.maximum(self.high, maximum.amax(0))

    def followed_by(self, maximum: Tensor, minimum: Tensor, first_image: int) -> TopImages:
        """The same with a batch more; this one stays as it is."""
        after = copy(self)  # tensors are replaced, never written into
        after.add(maximum, minimum, first_image)
        return after

    def restored(self, state: dict[str, NDArray[np.generic]]) -> TopImages:
        """One on the same device with the state that :meth:`state` gave."""
        found = copy(self)
        for name in ("values", "images", "low", "high"):
            setattr(found, name, torch.from_numpy(np.array(state[name])).to(self.values.device))
        return found

    @property
    def dead(self) -> Tensor:
        """``[U]`` bool: units that never vary."""
        return self.low == self.high

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Everything as arrays, for a spool to keep."""
        return {name: getattr(self, name).cpu().numpy() for name in ("values", "images", "low", "high")}
