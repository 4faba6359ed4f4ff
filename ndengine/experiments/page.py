"""The page of the paper in small, worked out for ``paper.html`` among the report's templates."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, NamedTuple

from markupsafe import Markup

from ndengine.compare import Comparison, Curve, Entry
from ndengine.compare.figures import Side, curve_figure, sides_figure
from ndengine.compare.page import link_to
from ndengine.compare.series_record import COMPARE
from ndengine.models.small.rows import NETWORKS
from ndengine.report.figures import colours
from ndengine.report.page import INDEX
from ndengine.report.templates import render_page

if TYPE_CHECKING:
    from ndengine.experiments.paper import Chapter, Paper

__all__ = ["INDEX", "render_paper"]

VERDICTS = {"agrees": "as in the paper", "differs": "otherwise", "open": "open"}
LAYERS = "layer"
CAUTION = (
    "These networks are small, learn from drawn scenes for a minute or two, and are dissected on drawn scenes: what "
    "comes out here shows how the experiments go, and neither confirms nor refutes what the paper found on its own."
)


class Figure(NamedTuple):
    """A figure and what it shows."""

    caption: str
    drawing: Markup


def render_paper(paper: Paper) -> str:
    """The page; its links lead to the comparisons and reports beside it."""
    categories = list(dict.fromkeys(name for c in paper.chapters if c.comparison for name in c.comparison.categories))
    numbers = iter(range(1, 1000))
    runs = [outcome for outcome in paper.outcomes if outcome.summaries]
    failed = [f"{o.run.name} failed: {o.error}" for o in paper.outcomes if o.error]
    machine = paper.provenance["machine"]
    page = {
        "title": "The paper in small",
        "heading": "The paper in small",
        "facts": [
            ("experiments", str(len(paper.chapters)), ", ".join(c.experiment.name for c in paper.chapters)),
            ("networks", str(len(paper.trainings)), ", ".join(paper.trainings)),
            ("results", str(len(runs)), str(len(runs))),
            ("dataset", "scenes", "scenes"),
            ("machine", f"{machine['processor']}, {machine['cores']} cores", machine["system"]),
        ],
        "version": version("ndengine"),
        "sentences": [CAUTION, *failed],
        "verdicts": VERDICTS,
        "categories": [(name, shade) for name, shade in colours(categories).items() if name],
        "chapters": [_chapter(chapter, paper, categories, numbers) for chapter in paper.chapters],
        "networks": [_network(name, receipt) for name, receipt in paper.trainings.items()],
        "records": [("Provenance", _provenance(paper))],
    }
    return render_page("paper.html", page, "", styles=("report.css", "compare.css", "paper.css"))


def _chapter(chapter: Chapter, paper: Paper, categories: Sequence[str], numbers: Any) -> dict[str, Any]:
    comparison = chapter.comparison
    return {
        "name": chapter.experiment.name,
        "title": chapter.experiment.title,
        "about": chapter.experiment.about,
        "findings": list(zip((claim for claim, _ in chapter.experiment.finders), chapter.findings, strict=False)),
        "compare": f"{chapter.experiment.name}/{COMPARE}/{INDEX}" if comparison else "",
        "figures": _figures(comparison, categories, numbers) if comparison else [],
        "entries": [_entry(entry, paper) for entry in comparison.entries] if comparison else [],
        "bars": bool(comparison and not comparison.curves and len({e.layer for e in comparison.entries}) == 1),
        "axis": next((e.x_name for e in comparison.entries if e.x_name), "") if comparison else "",
    }


def _entry(entry: Entry, paper: Paper) -> dict[str, Any]:
    return {
        "label": entry.label,
        "href": link_to(entry, paper.folder),
        "layer": entry.layer,
        "x": "" if entry.x is None else f"{entry.x:,.10g}",
        "summary": entry.summary,
    }


def _figures(comparison: Comparison, categories: Sequence[str], numbers: Any) -> list[Figure]:
    """Curves where there is an axis, layers as an axis where there are several, else bars side by side."""
    curves = comparison.curves or _over_layers(comparison)
    if not curves:
        sides = [_side(entry) for entry in comparison.entries]
        return [Figure("", sides_figure(sides, categories, copy=str(next(numbers))))]
    most = (
        max(max(*curve.total, *curve.top_label) for curve in curves),
        max((count for curve in curves for counts in curve.by_category.values() for count in counts), default=0),
    )
    return [Figure(_caption(curve), curve_figure(curve, categories, next(numbers), most)) for curve in curves]


def _caption(curve: Curve) -> str:
    return curve.group if curve.x_name == LAYERS else f"{curve.group}, {curve.layer}"


def _over_layers(comparison: Comparison) -> list[Curve]:
    """A curve over the layers for each kind of results: those of one weights, whatever their seed."""
    layers = list(dict.fromkeys(entry.layer for entry in comparison.entries))
    if len(layers) < 2:
        return []
    curves = []
    for weights in dict.fromkeys(entry.weights for entry in comparison.entries):
        places = [place for place, entry in enumerate(comparison.entries) if entry.weights == weights]
        places.sort(key=lambda place: layers.index(comparison.entries[place].layer))
        members = [comparison.entries[place] for place in places]
        summaries = [entry.summary for entry in members]
        curves.append(
            Curve(
                group="untrained" if weights == "random" else "trained",
                layer=f"{layers[0]} to {layers[-1]}",
                x_name=LAYERS,
                entries=tuple(places),
                x=tuple(float(layers.index(entry.layer) + 1) for entry in members),
                by_category={
                    name: tuple(
                        s.by_category[name].unique_per_category if name in s.by_category else 0 for s in summaries
                    )
                    for name in comparison.categories
                },
                total=tuple(s.unique_per_category for s in summaries),
                top_label=tuple(s.unique_top_label for s in summaries),
            )
        )
    return curves


def _side(entry: Entry) -> Side:
    found = entry.summary.by_category
    return Side(
        entry.label,
        entry.layer,
        {name: counts.unique_per_category for name, counts in found.items()},
        {name: counts.unique_top_label for name, counts in found.items()},
    )


def _network(name: str, receipt: dict[str, Any]) -> dict[str, Any]:
    last = receipt["epochs"][-1]
    return {
        "name": name,
        "about": NETWORKS[name].about,
        "seed": receipt["network"]["seed"],
        "units": receipt["network"]["units"],
        "images": receipt["budget"]["images"],
        "steps": receipt["iterations"],
        "loss": f"{last['held_out']:.3f}",
        "marks": ", ".join(f"{key} {value:.0%}" for key, value in last["marks"].items()),
        "seconds": f"{receipt['processor_seconds']:.0f}",
    }


def _provenance(paper: Paper) -> list[tuple[str, str]]:
    known = paper.provenance
    seconds = {f"seconds, {name}": f"{value:.0f}" for name, value in paper.seconds.items()}
    rows = {
        **{name: str(value) for name, value in known["machine"].items()},
        **known["versions"],
        **seconds,
        "trained by this call": ", ".join(paper.trained) or "none",
        "finished": known["finished"],
    }
    return list(rows.items())
