"""A pen for definitions: each layer reads the blob that was written last, unless another is named."""

from __future__ import annotations

from ndengine.models.caffe.definition import CaffeDefinition, CaffeLayer, Option


class Stack:
    """A network that is being written down.

    Parameters
    ----------
    name : str
        The network's.
    size : int
        Rows and columns of its input.
    channels : int
        Channels of its input.
    """

    def __init__(self, name: str, size: int, channels: int = 3) -> None:
        self.name = name
        self.inputs = {"data": (1, channels, size, size)}
        self.layers: list[CaffeLayer] = []
        self.blob = "data"  # what was written last

    def add(self, kind: str, name: str, *bottoms: str, **options: Option) -> str:
        """Write a layer on, and give the name of its blob, which is its own."""
        self.blob = self._write(kind, name, bottoms or (self.blob,), name, options)
        return self.blob

    def change(self, kind: str, name: str, **options: Option) -> str:
        """Write on a layer that works in place, and give the name of the blob that it changes."""
        return self._write(kind, name, (self.blob,), self.blob, options)

    def _write(self, kind: str, name: str, bottoms: tuple[str, ...], top: str, options: dict[str, Option]) -> str:
        self.layers.append(CaffeLayer(name, kind, bottoms, (top,), options))
        return top

    def conv(
        self,
        name: str,
        units: int,
        kernel: int,
        *bottoms: str,
        stride: int = 1,
        pad: int = 0,
        group: int = 1,
        bias: bool = True,
        relu: str = "",
    ) -> str:
        """A convolution, with its ReLU in place where one is named."""
        options: dict[str, Option] = {"num_output": units, "kernel_size": kernel}
        usual = {"stride": 1, "pad": 0, "group": 1, "bias_term": True}
        chosen = {"stride": stride, "pad": pad, "group": group, "bias_term": bias}
        options |= {key: value for key, value in chosen.items() if value != usual[key]}
        self.add("Convolution", name, *bottoms, **options)
        return self.relu(relu) if relu else self.blob

    def relu(self, name: str) -> str:
        """A ReLU in place."""
        return self.change("ReLU", name)

    def pool(
        self, name: str, kernel: int = 3, stride: int = 2, *bottoms: str, pad: int = 0, floor: bool = False
    ) -> str:
        """Maxima over windows, the last of which may reach over the border unless their number is rounded down."""
        more: dict[str, Option] = {"pad": pad} if pad else {}
        if floor:
            more["round_mode"] = "FLOOR"
        return self.add("Pooling", name, *bottoms, pool="MAX", kernel_size=kernel, stride=stride, **more)

    def average(self, name: str) -> str:
        """The mean over a whole map."""
        return self.add("Pooling", name, pool="AVE", global_pooling=True)

    def norm(self, name: str) -> str:
        """Local response normalisation across five channels, as in all of these networks."""
        return self.add("LRN", name, local_size=5, alpha=0.0001, beta=0.75)

    def batch_norm(self, name: str, *, in_place: bool = True) -> str:
        """Batch norm by the means and variances of training, without scale and offset."""
        write = self.change if in_place else self.add
        return write("BatchNorm", name, use_global_stats=True, eps=1e-5)

    def scale(self, name: str) -> str:
        """A factor and an offset a channel, in place."""
        return self.change("Scale", name, bias_term=True)

    def dense(self, name: str, units: int, *, relu: str = "", dropout: str = "") -> str:
        """A fully connected layer, with its ReLU and its dropout in place where they are named."""
        self.add("InnerProduct", name, num_output=units)
        if relu:
            self.relu(relu)
        return self.change("Dropout", dropout, dropout_ratio=0.5) if dropout else self.blob

    def scores(self, name: str, classes: int) -> CaffeDefinition:
        """End in scores of classes and their softmax."""
        self.dense(name, classes)
        self.add("Softmax", "prob")
        return self.definition()

    def definition(self) -> CaffeDefinition:
        """What has been written."""
        return CaffeDefinition(self.name, self.inputs, tuple(self.layers))
