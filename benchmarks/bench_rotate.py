"""Time the rotation of a layer's units: finding its power, and putting maps through it.

Run it from the repository: ``python -m benchmarks.bench_rotate``. Maps are rotated in place, batch after batch, against
the product that rounds at every addition, in float32 and in float64. The power of a rotation comes from the planes that
it turns, against the real Schur form of the whole matrix (SciPy); it is found once a layer, not once a batch.
The decomposition of 4,096 units takes minutes, so the largest matrices are timed once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import schur
from torch import Tensor

from benchmarks.harness import Way, begin, copying, finish, make_parser, measure
from benchmarks.tables import Shown, Table, find, number, share, spread, warning
from ndengine.rotation import find_planes, random_rotation, rotation_power
from ndkernels.rotate import Rotation, naive

UNITS = (256, 512, 1024, 2048, 4096)
BATCH, SIDE = 32, 14  # images a batch, as in a run, and positions each way
MAPS = BATCH * 1024  # a batch's maps, for layers of more than 1,024 units
CHECKED = 8  # positions a batch that are compared with the definition, which takes them one by one
ONCE = 2048  # units from which a matrix is timed in one turn
ALPHA = 0.6
SINGLE, DOUBLE, FLOOR = "product in float32", "product in float64", "memcpy of the maps"
DRAWN, PLANES, SCHUR, POWER = "drawing it (QR)", "its planes", "its Schur form (SciPy)", "a power, of the planes"


def product(matrix: Tensor, maps: Tensor) -> None:
    """Rotate maps in place by a plain product in the matrix's type."""
    columns = maps.flatten(2).transpose(0, 1).to(matrix.dtype)
    turned = (matrix @ columns.flatten(1)).view(columns.shape)
    maps.flatten(2).copy_(turned.transpose(0, 1))


def check_maps(matrix: NDArray[np.float64], maps: Tensor, threads: Sequence[int]) -> str:
    """Compare with the definition, and between batch sizes and numbers of threads; plain products to their rounding."""
    rotated = maps.clone()
    Rotation(matrix).turn(rotated)
    part = maps[:1, :, :1, :CHECKED]
    found = rotated[:1, :, :1, :CHECKED].numpy()
    np.testing.assert_array_equal(found, naive.rotate_maps(part.numpy(), matrix), err_msg="differs from naive")
    for t in threads:
        single = maps.clone()
        with_threads(t, lambda single=single: [Rotation(matrix).turn(image) for image in single.split(1)])()
        if not torch.equal(single, rotated):
            raise AssertionError(f"images one by one on {t} threads differ from the batch")
    exact = torch.einsum("uv,nvyx->nuyx", torch.from_numpy(matrix), maps.double())
    length = exact.norm(dim=1, keepdim=True)
    for kind in (torch.float32, torch.float64):
        other = maps.clone()
        product(torch.from_numpy(matrix).to(kind), other)
        if not ((other - exact).abs() <= 4e-6 * length).all():
            raise AssertionError(f"the product in {kind} is another rotation")
    return (
        f"{part.shape[3]} positions equal to naive, bit for bit; the batch equal to its images one by one, on "
        f"{' and '.join(map(str, threads))} thread{'s' if threads[-1] > 1 else ''}"
    )


def with_threads(threads: int, call: Callable[[], object]) -> Callable[[], object]:
    """A call with so many threads of torch's."""

    def on_threads() -> None:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            call()
        finally:
            torch.set_num_threads(before)

    return on_threads


def map_ways(matrix: NDArray[np.float64], maps: Tensor, threads: Sequence[int]) -> list[Way]:
    """The rotation and the plain products, on one thread and on several, and the floor."""
    ways, count = [], len(maps)
    rotation = Rotation(matrix)
    plain = {SINGLE: torch.from_numpy(matrix).float(), DOUBLE: torch.from_numpy(matrix)}
    for t in threads:
        ending = f", {t} thread{'s' if t > 1 else ''}"
        calls = {"rotation": lambda target: rotation.turn(target)} | {
            name: lambda target, factor=factor: product(factor, target) for name, factor in plain.items()
        }
        for name, call in calls.items():
            target = maps.clone()
            ways.append(Way(name + ending, with_threads(t, lambda c=call, m=target: c(m)), count, maps.nbytes, FLOOR))
    return [*ways, copying(FLOOR, count, maps)]


def power_by_schur(matrix: NDArray[np.float64], alpha: float) -> NDArray[np.float64]:
    """The power of a rotation by the usual way: that of each 2x2 block of its real Schur form."""
    blocks, vectors = schur(matrix, output="real")
    powers = np.zeros_like(blocks)
    at = 0
    while at < len(blocks):
        if at + 1 < len(blocks) and blocks[at + 1, at] != 0:
            angle = alpha * np.arctan2(blocks[at + 1, at] - blocks[at, at + 1], blocks[at, at] + blocks[at + 1, at + 1])
            powers[at : at + 2, at : at + 2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
            at += 2
        else:
            powers[at, at] = 1  # a pair of -1, which a random matrix has with probability 0, would be a turn by π
            at += 1
    found: NDArray[np.float64] = vectors @ powers @ vectors.T
    return found


def check_matrix(units: int, by_schur: bool) -> str:
    """Check that the powers are orthogonal and that the ends are the identity and the rotation; compare with Schur."""
    drawn = random_rotation(units, 0)
    power = rotation_power(units, ALPHA, 0)
    np.testing.assert_array_equal(rotation_power(units, 0.0, 0), np.eye(units), err_msg="power 0 is not the identity")
    np.testing.assert_allclose(rotation_power(units, 1.0, 0), drawn, rtol=0, atol=1e-11)
    error = float(np.abs(power @ power.T - np.eye(units)).max())
    if error > 1e-11:
        raise AssertionError(f"the power of {units} units is off orthogonality by {error:.1e}")
    said = f"off orthogonality by {error:.0e} at most"
    if by_schur:
        other = float(np.abs(power_by_schur(drawn, ALPHA) - power).max())
        if other > 1e-10:
            raise AssertionError(f"the Schur form gives another power: {other:.1e}")
        said += f", and from the power by Schur form by {other:.0e}"
    return said


def matrix_ways(units: int) -> list[Way]:
    """What finds a power of a rotation, part by part, and the Schur form in place of its planes."""
    drawn = random_rotation(units, 0)
    planes = find_planes(drawn)
    return [
        Way(DRAWN, lambda: random_rotation(units, 0), 1),
        Way(PLANES, lambda: find_planes(drawn), 1),
        Way(POWER, lambda: planes.power(ALPHA), 1),
        Way(SCHUR, lambda: schur(drawn, output="real"), 1),
    ]


def main(argv: Sequence[str] | None = None) -> None:
    args = begin(make_parser(__doc__, repeats=5), argv, "bench_rotate")
    threads, products, matrices = sorted({1, args.threads}), [], []
    for units in (8, 24) if args.quick else UNITS:
        matrix = rotation_power(units, ALPHA, 0)
        batch, side = (2, 4) if args.quick else (min(BATCH, MAPS // units), SIDE)
        maps = torch.randn((batch, units, side, side), generator=torch.Generator().manual_seed(0)).relu_()
        checked = check_maps(matrix, maps, threads)
        rows = measure(map_ways(matrix, maps, threads), args.repeats, {"times_single": f"{SINGLE}, 1 thread"})
        products.append({"name": "maps", "shape": list(maps.shape), "checked": checked, "rows": rows})
        checked = check_matrix(units, by_schur=units < UNITS[-1])
        rows = measure(matrix_ways(units), 1 if units >= ONCE else args.repeats, {"times_schur": SCHUR})
        matrices.append({"name": "matrix", "units": units, "checked": checked, "rows": rows})
    finish(args, "rotate", {"cases": [*products, *matrices]}, show)


def show(content: Mapping[str, Any]) -> Shown:
    """A table for each number of units, and one of the matrices."""
    products = [case for case in content["cases"] if case["name"] == "maps"]
    matrices = [case for case in content["cases"] if case["name"] == "matrix"]
    tables = []
    for case in products:
        n, u, h, w = case["shape"]
        rows = [
            (
                row["way"], number(row["us_per_item"]), spread(row), number(row["times_single"]),
                share(row.get("share_of_floor")),
            )
            for row in case["rows"]
        ]  # fmt: skip
        headings = ("way", "µs an image", "spread", "times float32", "share of floor")
        tables.append(Table(f"{u:,} units, a batch of {n} images of {h}×{w}; {case['checked']}", headings, rows))
    names = [row["way"] for row in matrices[0]["rows"]]
    cells = []
    for case in matrices:
        seconds = [number(row["median_seconds"]) for row in case["rows"]]
        planes = find(case["rows"], PLANES)
        assert planes
        cells.append((f"{case['units']:,}", *seconds, number(planes["times_schur"]), case["checked"]))
    headings = ("units", *(f"{name}, s" for name in names), "planes, times Schur", "checked")
    tables.append(Table("Seconds for a matrix, on one thread, once a layer:", headings, cells))
    return Shown(tables, _reading(products, matrices) + warning([r for c in content["cases"] for r in c["rows"]]))


def _reading(products: Sequence[Mapping[str, Any]], matrices: Sequence[Mapping[str, Any]]) -> str:
    usual, largest = products[min(1, len(products) - 1)], matrices[-1]
    own, plain = find(usual["rows"], "rotation, 1 thread"), find(usual["rows"], f"{SINGLE}, 1 thread")
    assert own
    assert plain
    total = sum(row["median_seconds"] for row in largest["rows"] if row["way"] != SCHUR)
    return (
        f"{usual['shape'][1]:,} units take {number(own['us_per_item'])} µs an image on one thread, "
        f"{number(own['us_per_item'] / plain['us_per_item'])} times as long as a product in float32, whose last bits "
        "nothing promises to be the same in other batches or on other numbers of threads. A power of a rotation of "
        f"{largest['units']:,} units takes {number(total)} s in all."
    )


if __name__ == "__main__":
    main()
