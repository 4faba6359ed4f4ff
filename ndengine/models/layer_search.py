"""Names and patterns to layers, for one network and what was shown of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from difflib import get_close_matches
from fnmatch import fnmatchcase

from torch import nn

from ndengine.errors import ModelError
from ndengine.models.aliases import layer_aliases, missing_layers
from ndengine.models.arrange import Layout, lay_out
from ndengine.models.layer import Layer
from ndengine.models.readings import Reading
from ndengine.models.trace import IMAGES, Output, Trace, field_of

SHOWN = 3  # names and reasons in a sentence


def name_of(path: str, part: str) -> str:
    """A layer's name: its module's path, and the tensor among several that the module puts out."""
    return f"{path}/{part}" if part else path


@dataclass(frozen=True)
class Asked:
    """A layer's name taken apart."""

    path: str
    part: str = ""
    call: int | None = None  # counted from 1; None for the last


class Search:
    """Names to layers, for one network and trace."""

    def __init__(
        self,
        module: nn.Module,
        model_name: str,
        size: tuple[int, int],
        trace: Trace,
        listed: str = "",
        layout: Layout | None = None,
        tell: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        self.module, self.model, self.size, self.trace = module, model_name, size, trace
        self.layout, self.tell = layout, tell
        self.command = f"`ndengine layers --model {listed or model_name}`"
        aliases, self.missing = layer_aliases(module), missing_layers(module)
        paths = [path for path, _ in module.named_modules(remove_duplicate=False) if path]
        self.names = aliases | {path: path for path in paths if path not in aliases and path not in self.missing}

    def find(self, wanted: str) -> list[Layer]:
        """The layers that a name or pattern stands for."""
        if wanted in self.missing and wanted not in self.names:
            raise ModelError(
                f"Layer {wanted} of {self.model} depends on {self.missing[wanted]}; ask for a layer that does not "
                f"({self.command} lists them)."
            )
        asked = self._take_apart(wanted)
        if asked is not None:
            return [self._layer(wanted, asked)]
        matches = self._matches(wanted)
        if not matches:
            raise ModelError(self._unknown(wanted))
        usable = [m for m in matches if self._reason(m[1]) is None]
        if not usable:
            return [self._layer(*matches[0])]  # the error about the first match says why
        self._tell_left_out(wanted, [m for m in matches if m not in usable])
        usable.sort(key=lambda m: self.trace.steps[m[1].path].end)
        return [self._layer(name, asked) for name, asked in usable]

    def _take_apart(self, wanted: str) -> Asked | None:
        """Path, part and call of a name; None for what is no name."""
        if wanted in self.names:
            return Asked(self.names[wanted])
        found = re.fullmatch(r"(.+?)@([0-9]{1,9})(/.+)?", wanted)
        base, call = (found[1] + (found[3] or ""), int(found[2])) if found else (wanted, None)
        for cut in [len(base)] + [i for i in range(len(base) - 1, 0, -1) if base[i] == "/"]:
            if base[:cut] in self.names:
                return Asked(self.names[base[:cut]], base[cut + 1 :], call)
        return None

    def _matches(self, pattern: str) -> list[tuple[str, Asked]]:
        """What a pattern matches: names, and the tensors of modules that put out several."""
        matches = []
        for name, path in self.names.items():
            step = self.trace.steps.get(path)
            for part in step.outputs[-1] if step else ("",):
                if fnmatchcase(name_of(name, part), pattern) or (part and fnmatchcase(name, pattern)):
                    matches.append((name_of(name, part), Asked(path, part)))
        return matches

    def _tell_left_out(self, pattern: str, left: list[tuple[str, Asked]]) -> None:
        ran = [(name, self._reason(asked)) for name, asked in left if asked.path in self.trace.steps]
        if ran:
            names = ", ".join(name for name, _ in ran[:SHOWN]) + (
                f" and {len(ran) - SHOWN} more" if len(ran) > SHOWN else ""
            )
            self.tell(f"{pattern} leaves out {names}, not shown to be maps ({ran[0][1]}); see {self.command} --all.")

    def _reason(self, asked: Asked) -> str | None:
        """Why a layer can't be dissected; None where it can."""
        output = self._output(asked)
        if output is None:
            return "it never runs"
        if self.layout is not None:
            return None
        return output.reading.refusal if not output.reading.axes else None

    def _output(self, asked: Asked) -> Output | None:
        step = self.trace.steps.get(asked.path)
        call = -1 if asked.call is None else asked.call - 1
        return step.outputs[call].get(asked.part) if step and -1 <= call < step.calls else None

    def _layer(self, name: str, asked: Asked) -> Layer:
        step = self.trace.steps.get(asked.path)
        if step is None:
            raise ModelError(self._never_runs(name))
        if asked.call is not None and not 1 <= asked.call <= step.calls:
            times = "once" if step.calls == 1 else f"{step.calls} times"
            raise ModelError(
                f"Layer {name} of {self.model}: the module runs {times} in a forward pass; use @1 to @{step.calls}."
            )
        parts = step.outputs[-1 if asked.call is None else asked.call - 1]
        if asked.part not in parts and not asked.part and len(parts) == 1:
            asked = replace(asked, part=next(iter(parts)))
        if asked.part not in parts:
            raise ModelError(self._which_part(name, asked, list(parts)))
        output = parts[asked.part]
        reading = self._reading(name, output)
        kind = type(self.module.get_submodule(asked.path)).__name__
        field = field_of(output)
        if self.layout is not None and reading.axes != output.reading.axes:
            field = None
        return Layer(
            name=name,
            path=asked.path,
            kind=kind,
            shape=reading.shape,
            field=field,
            calls=step.calls,
            call=asked.call or step.calls,
            part=asked.part,
            axes=reading.axes,
            tokens=reading.tokens,
            said=self.layout is not None,
            is_static=self.trace.is_static,
        )

    def _reading(self, name: str, output: Output) -> Reading:
        if self.layout is not None:
            reading = lay_out(self.layout, output.shape, self.size, name)
            if output.shape[reading.axes.index("n")] != IMAGES:
                raise ModelError(
                    f"Layer {name} of {self.model} puts out {list(output.shape)} for {IMAGES} images; "
                    f"the dim that --axes {reading.axes} calls n does not run along the images."
                )
            return reading
        if not output.reading.axes:
            shape = ", ".join(["N" if n == IMAGES and not d else str(n) for d, n in enumerate(output.shape)])
            raise ModelError(
                f"Layer {name} of {self.model} puts out [{shape}], which is not shown to be maps: "
                f"{output.reading.refusal}; ask for another layer ({self.command} lists them), or say how it is read "
                "with --axes (and --tokens, --grid)."
            )
        return output.reading

    def _never_runs(self, name: str) -> str:
        if self.trace.failure:
            rows, columns = self.size
            return (
                f"{self.model} stopped before layer {name} on an input of {rows}x{columns} ({self.trace.failure}); "
                "use a --size that the network takes."
            )
        return (
            f"Layer {name} of {self.model} never runs in a forward pass; ask for a layer that does "
            f"({self.command} lists them)."
        )

    def _which_part(self, name: str, asked: Asked, parts: list[str]) -> str:
        if not parts:
            return f"Layer {name} of {self.model} puts out no tensor; ask for a layer inside or after it."
        said = f"no {asked.part!r} among" if asked.part else "several"
        given = ", ".join(f"{asked.path}/{part}" if part else asked.path for part in parts[:6])
        more = f" and {len(parts) - 6} more" if len(parts) > 6 else ""
        return f"Layer {name} of {self.model} has {said} the tensors that it puts out; ask for one of {given}{more}."

    def _unknown(self, wanted: str) -> str:
        close = get_close_matches(wanted, list(self.names), 4, 0.5)
        hint = f"close names are {', '.join(close)}" if close else "no name comes close"
        return f"{self.model} has no layer {wanted!r}: {hint}; {self.command} lists them all."
