"""Launches carried out by running the PTX that Triton compiles for them, in the emulator beside the repository.

The interpreter never sees layouts, shuffles, shared memory or barriers; this does. Warps run in lockstep, or one after
the other in random order until a barrier stops them, or lane by lane: a GPU may let the lanes of a warp drift apart,
and only then does a barrier inside a warp matter.
"""

from __future__ import annotations

import importlib.util
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.gpu_compile import Launch, build

TOOLS = Path(__file__).resolve().parents[3] / "shared" / "tools"
SCHEDULES = ("lockstep", "warps", "lanes")
COLLECTIVES = ("shfl", "redux", "vote")


def load_emulator() -> Any:
    """The emulator's module; the test is skipped where it is absent."""
    path = TOOLS / "ptxemu.py"
    if not path.is_file():
        pytest.skip("no folder shared with the PTX emulator beside the repository")
    spec = importlib.util.spec_from_file_location("ptxemu", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def remainder(self: Any, ins: Any, sub: Any, parts: Any, args: Any) -> None:
        """An instruction that the emulator lacks; it has the dividend's sign."""
        kind = module.DT[parts[-1]]
        self.put(args[0], sub, np.fmod(self.val(args[1], sub, kind), self.val(args[2], sub, kind)))

    module.Emu.i_rem = remainder
    return module


def by_lanes(emulator: Any) -> Any:
    """An emulator of programs of one warp whose lanes run one after the other, until a barrier or an exchange."""

    class Lanes(emulator.Emu):  # type: ignore[misc, name-defined]
        def __init__(self, ptx: str, shared: int, seed: int) -> None:
            super().__init__(ptx, shared, schedule="warps", seed=seed)
            assert self.P["nthreads"] == 32, "only a program of one warp can be run by lanes"
            # An exchange becomes three steps: leave what you give, meet the others, take what you get.
            made: list[Any] = []
            moved: dict[int, int] = {}
            for i, ins in enumerate(self.P["ins"]):
                moved[i] = len(made)
                if ins.parts[:2] == ["bar", "warp"]:
                    ins = emulator.Ins("bar.sync", ins.pred, ins.neg, ["0"], ins.text)
                if ins.parts[0] in COLLECTIVES:
                    value = ins.args[1]
                    made.append(emulator.Ins("leave.b32", None, None, [str(i), value, ins.parts[0]], f"leave {value}"))
                    made.append(emulator.Ins("bar.sync", None, None, ["0"], "bar.sync 0"))
                    ins.args.append(str(i))
                made.append(ins)
            moved[len(self.P["ins"])] = len(made)
            self.P["ins"] = made
            self.P["labels"] = {name: moved[i] for name, i in self.P["labels"].items()}
            self.starts = set(self.P["labels"].values())

        def _run(self, *rest: Any) -> None:
            self.left: dict[tuple[str, int], Any] = {}
            self.visits: dict[tuple[str, str], Any] = defaultdict(lambda: np.zeros(self.T, np.int64))
            super()._run(*rest)

        @property
        def warp(self) -> Any:  # what the schedule takes turns over
            return self.special["%tid.x"]

        @warp.setter
        def warp(self, _: Any) -> None:
            pass

        def _slot(self, phase: str, number: str, sub: Any) -> Any:
            """What all lanes have left, for the lanes at hand: each exchange of a program has its own."""
            visits = self.visits[phase, number]
            (visit,) = np.unique(visits[sub])
            visits[sub] += 1
            return self.left.setdefault((number, int(visit)), np.zeros(self.T, np.uint32))

        def i_leave(self, ins: Any, sub: Any, parts: Any, args: Any) -> None:
            kind = np.bool_ if args[2] == "vote" else np.uint32
            for program in np.unique(self.cta[sub]):
                lanes = sub[self.cta[sub] == program]
                self._slot(f"leave {program}", args[0], lanes)[lanes] = self.val(args[1], lanes, kind)

        def _exchange(self, ins: Any, sub: Any, parts: Any, args: Any, plain: Callable[..., None]) -> None:
            for program in np.unique(self.cta[sub]):
                lanes = sub[self.cta[sub] == program]
                slot = self._slot(f"take {program}", args[-1], lanes)
                everyone = np.nonzero(self.cta == program)[0]
                # The exchange itself is the emulator's, for all lanes at once; the lanes at hand keep their share.
                target = args[0].split("|")[0]
                value = args[1]
                kept, given = self.R[target][everyone].copy(), self.R[value][everyone].copy()
                self.R[value][everyone] = slot[everyone].astype(self.R[value].dtype)
                plain(ins, everyone, parts, args[:-1])
                result = self.R[target][lanes].copy()
                self.R[value][everyone] = given
                self.R[target][everyone] = kept
                self.R[target][lanes] = result

        def i_shfl(self, ins: Any, sub: Any, parts: Any, args: Any) -> None:
            self._exchange(ins, sub, parts, args, super().i_shfl)

        def i_redux(self, ins: Any, sub: Any, parts: Any, args: Any) -> None:
            self._exchange(ins, sub, parts, args, super().i_redux)

        def i_vote(self, ins: Any, sub: Any, parts: Any, args: Any) -> None:
            self._exchange(ins, sub, parts, args, super().i_vote)

    return Lanes


class Emulated:
    """Carries out launches; for :func:`benchmarks.gpu_compile.launching`.

    Parameters
    ----------
    schedule : str
        ``lockstep``, ``warps`` or ``lanes``; programs of several warps take ``warps`` for ``lanes``.
    seed : int
        Of the schedule.
    edit : callable
        Given a kernel's name and its PTX, the PTX that is run.
    **options
        Compiler options that differ from the launcher's.

    Attributes
    ----------
    names : list of str
        The kernels that have been run.
    """

    def __init__(
        self,
        schedule: str = "lockstep",
        seed: int = 0,
        edit: Callable[[str, str], str] = lambda name, ptx: ptx,
        **options: Any,
    ) -> None:
        self._module = load_emulator()
        self._schedule, self._seed, self._edit, self._options = schedule, seed, edit, options
        self.names: list[str] = []

    def __call__(self, launch: Launch) -> None:
        self.names.append(launch.name)
        kernel = build(launch, "sm_80", **self._options)
        ptx = self._edit(launch.name, kernel.asm["ptx"])
        memory = self._module.Memory()
        addresses = [memory.add(a.numpy()) if isinstance(a, Tensor) else a for a in launch.arguments]
        memory.freeze()
        if self._schedule == "lanes" and launch.warps == 1:
            machine = by_lanes(self._module)(ptx, kernel.metadata.shared, self._seed)
        else:
            schedule = "warps" if self._schedule == "lanes" else self._schedule
            machine = self._module.Emu(ptx, kernel.metadata.shared, schedule=schedule, seed=self._seed)
        machine.launch(launch.grid, addresses, memory)
        for address, argument in zip(addresses, launch.arguments, strict=True):
            if isinstance(argument, Tensor) and argument.numel():
                argument.copy_(torch.from_numpy(memory.get(address)))
