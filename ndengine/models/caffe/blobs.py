"""A layer's blobs, as a caffemodel has them, to the tensors that its module has."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from ndengine.models.caffe import modules
from ndengine.models.caffe.bn import BLOBS, BN


def tensors_of(module: nn.Module, blobs: Sequence[Tensor]) -> dict[str, Tensor]:
    """Tensors by their name in the module's state, in its shapes where Caffe takes them for the same.

    Parameters
    ----------
    module : nn.Module
        A layer of a Caffe network.
    blobs : sequence of Tensor
        Its blobs.

    Returns
    -------
    dict of str to Tensor
        What does not fit keeps its shape, and what is too many gets a name that the module lacks: the comparison
        with the network's state names them.
    """
    if isinstance(module, modules.BatchNorm):
        if len(blobs) != 3 or blobs[2].numel() != 1:
            return {f"blob {i}": blob for i, blob in enumerate(blobs)}
        factor = float(blobs[2].reshape(1))  # the weight of all that went into the moving averages
        factor = 0 if factor == 0 else 1 / factor
        found = {"running_mean": blobs[0] * factor, "running_var": blobs[1] * factor}
    else:
        names = BLOBS if isinstance(module, BN) else ("weight", "bias")[isinstance(module, modules.Bias) :]
        found = {names[i] if i < len(names) else f"blob {i}": blob for i, blob in enumerate(blobs)}
    if isinstance(module, modules.InnerProduct) and module.transposed and "weight" in found:
        matrix = _without_ones(found["weight"], 2)
        found["weight"] = matrix.T if matrix.dim() == 2 else matrix
    own = module.state_dict()
    return {name: _without_ones(blob, own[name].dim()) if name in own else blob for name, blob in found.items()}


def _without_ones(blob: Tensor, axes: int) -> Tensor:
    """A blob with that many axes, if only ones in front have to go or to come: there were always four once.

    One axis may have had them on both sides: forks write what a channel has as 1xCx1x1.
    """
    if axes == 1 and blob.numel() == max(blob.shape, default=1):
        return blob.reshape(-1)
    spare = blob.dim() - axes
    if spare > 0 and all(side == 1 for side in blob.shape[:spare]):
        return blob.reshape(blob.shape[spare:])
    if spare < 0 and blob.numel() == 1:
        return blob.reshape((1,) * axes)
    return blob
