"""What the GPU kernels are compiled to, and an estimate of what they cost: no GPU is needed.

Run it from the repository: ``python -m benchmarks.gpu_report``. The first table is read from machine code; the second
one is an estimate (see ``gpu_roofline.py``), and no figure in it was measured on a GPU.
"""

from __future__ import annotations

import argparse
from typing import Any

from benchmarks.gpu_compile import TARGETS, Compiled, inspect
from benchmarks.gpu_launches import Shapes, record
from benchmarks.gpu_roofline import (
    H100,
    WORKLOADS,
    Workload,
    count_trips,
    floor_microseconds,
    straight_instructions,
    tally_instructions,
    traffic,
)
from benchmarks.machine import machine_line, write_results

COMMAND = "python -m benchmarks.gpu_report"


def describe(code: Compiled, constants: dict[str, Any]) -> dict[str, Any]:
    """One row of the first table."""
    return {
        "kernel": code.name.removesuffix("_kernel"),
        "form": ", ".join(f"{k} {constants[k]}" for k in ("LEVEL", "SIZE", "BYTES", "BINS") if k in constants),
        "target": code.target,
        "registers": code.registers,
        "spills": code.spills,
        "scalar_spills": code.scalar_spills,
        "shared": code.shared,
        "fused": code.fused,
        "loads": " ".join(f"{width}:{count}" for width, count in code.loads.items()),
        "red": code.red,
        "atom": code.atom,
    }


def estimate(workload: Workload) -> dict[str, Any]:
    """One row of the second table."""
    launches = record(Shapes(workload.maps, workload.labels, rich=True))
    codes = {launch.name: inspect(launch, "sm_90") for launch in launches if launch.name != "level_kernel"}
    (bins,) = {launch.constants["BINS"] for launch in launches if launch.name == "tally_kernel"}
    trips = count_trips(workload, bins)
    moved = traffic(workload, trips)
    sieve = sum(
        straight_instructions(codes[name], trips.maps, trips.active)
        for name in ("count_kernel", "mark_kernel", "copy_kernel")
    )
    tally = tally_instructions(codes["tally_kernel"], trips) + straight_instructions(
        codes["expand_kernel"], trips.active, trips.active
    )
    return {
        "workload": workload.name,
        "active_maps": trips.active,
        "sieve_bytes": moved["sieve"],
        "sieve_warp_instructions": sieve,
        "sieve_floor_us": floor_microseconds(moved["sieve"], sieve),
        "tally_bytes": moved["tally"],
        "tally_warp_instructions": tally,
        "tally_floor_us": floor_microseconds(moved["tally"], tally),
    }


def compiled_rows() -> list[dict[str, Any]]:
    """All forms of all kernels that the workloads need, on every target."""
    rows: dict[tuple[object, ...], dict[str, Any]] = {}
    for workload in WORKLOADS:
        for rich in (False, True):
            for launch in record(Shapes(workload.maps, workload.labels, rich=rich)):
                for target in TARGETS:
                    form = (launch.name, target, *sorted(launch.constants.items()))
                    if form not in rows:
                        rows[form] = describe(inspect(launch, target), launch.constants)
    return list(rows.values())


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    print(machine_line())
    rows = compiled_rows()
    print(
        f"\n{'kernel':<8}{'form':<22}{'target':<8}{'registers':>10}{'spills':>8}{'scalar':>8}{'shared':>8}"
        f"{'fused':>7}{'RED':>5}{'ATOM':>6}  loads (bytes:count)"
    )
    for row in rows:
        print(
            f"{row['kernel']:<8}{row['form']:<22}{row['target']:<8}{row['registers']:>10}{row['spills']:>8}"
            f"{row['scalar_spills']:>8}{row['shared']:>8}{row['fused']:>7}{row['red']:>5}{row['atom']:>6}"
            f"  {row['loads']}"
        )
    estimates = [estimate(workload) for workload in WORKLOADS]
    print(
        f"\nEstimates for an H100 ({H100['multiprocessors']} multiprocessors at {H100['hertz'] / 1e9} GHz, "
        f"{H100['bytes_per_second'] / 1e12} TB/s), an image; nothing was measured on a GPU.\n"
        f"{'layer':<56}{'active':>8}{'sieve: KB':>11}{'Kinstr':>8}{'floor µs':>10}{'tally: KB':>11}{'Kinstr':>8}"
        f"{'floor µs':>10}"
    )
    for row in estimates:
        print(
            f"{row['workload']:<56}{row['active_maps']:>8.0f}"
            + "".join(
                f"{row[f'{op}_bytes'] / 1e3:>11.0f}{row[f'{op}_warp_instructions'] / 1e3:>8.0f}"
                f"{row[f'{op}_floor_us']:>10.2f}"
                for op in ("sieve", "tally")
            )
        )
    print(write_results("gpu-report", {"command": COMMAND, "compiled": rows, "estimates": estimates, "assumed": H100}))


if __name__ == "__main__":
    main()
