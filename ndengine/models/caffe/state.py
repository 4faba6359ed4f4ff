"""The state that a network is in, by which Caffe leaves layers out: its phase, level and stages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ndengine.models.caffe.options import MOST
from ndengine.models.caffe.text import Message, fail

DEPLOY = "deploy"


@dataclass(frozen=True)
class NetState:
    """A state of the phase TEST.

    Attributes
    ----------
    level : int
    stages : frozenset of str
    """

    level: int = 0
    stages: frozenset[str] = frozenset()

    def has_layer(self, layer: Message) -> bool:
        """Whether a layer is in the network: one of its `include` rules holds, or no `exclude` rule does."""
        include, exclude = _rules(layer)
        if include and exclude:
            fail(layer.source, layer.line, "the layer has both include and exclude")
        return any(map(self._holds, include)) if include else not any(map(self._holds, exclude))

    def lacks_stage_of(self, layer: Message) -> bool:
        """Whether a layer that is not in the network might be with other stages."""
        include, exclude = _rules(layer)
        if include:
            return any(map(self._holds_but_for_stages, include))
        return all("stage" in rule.fields or "not_stage" in rule.fields for rule in exclude if self._holds(rule))

    def _holds(self, rule: Message) -> bool:
        stages = self.stages
        is_staged = stages.issuperset(rule.texts("stage")) and stages.isdisjoint(rule.texts("not_stage"))
        return self._holds_but_for_stages(rule) and is_staged

    def _holds_but_for_stages(self, rule: Message) -> bool:
        if _phase(rule) in ("TRAIN", 0):
            return False
        least, most = (rule.whole_number(name, self.level, -MOST - 1, MOST) for name in ("min_level", "max_level"))
        return least <= self.level <= most


def read_state(net: Message, layers: Sequence[Message]) -> NetState:
    """The state that a prototxt gives its network, whose phase is TEST whatever the file says.

    In a file without one the stage is ``deploy`` if a layer's rule names it: files that describe all stages at once
    leave it to their reader which one is built, and to dissect is to deploy.

    Parameters
    ----------
    net : Message
        The whole file.
    layers : sequence of Message
        Its layers.
    """
    if "state" not in net.fields:
        rules = (rule for layer in layers for group in _rules(layer) for rule in group)
        return NetState(stages=frozenset({DEPLOY} if any(DEPLOY in rule.texts("stage") for rule in rules) else ()))
    state = net.message("state")
    _phase(state)
    return NetState(state.whole_number("level", 0, -MOST - 1, MOST), frozenset(state.texts("stage")))


def _rules(layer: Message) -> tuple[list[Message], list[Message]]:
    return layer.messages("include"), layer.messages("exclude")


def _phase(message: Message) -> object:
    phase = message.value("phase")
    if phase is not None and phase not in ("TRAIN", "TEST", 0, 1):
        fail(message.source, message.line, f"phase is {phase!r:.40}, and neither TRAIN nor TEST")
    return phase
