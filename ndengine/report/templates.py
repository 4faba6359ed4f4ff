"""The templates of this folder, filled in: pages with their style and script inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ndengine.visible import visible

HERE = Path(__file__).parent


def render_page(
    template: str,
    page: Mapping[str, Any],
    rules: str,
    styles: Sequence[str] = ("report.css",),
    script: str = "report.js",
) -> str:
    """A page from a template.

    Parameters
    ----------
    template : str
        Name of the template.
    page : mapping
        What it shows.
    rules : str
        More rules of style, of this page alone.
    styles : sequence of str
        The files of style that it takes.
    script : str
        The file of its script.
    """
    style = "".join((HERE / name).read_text("utf-8") for name in styles)
    return (
        _environment()
        .get_template(template)
        .render(page=page, style=Markup(style + rules), script=Markup((HERE / script).read_text("utf-8")))
    )


@lru_cache(maxsize=1)
def _environment() -> Environment:
    """Where templates are compiled once, whatever the number of pages."""
    return Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _shown(value: Any) -> Any:
    """What stands in a page for a value: of a name that is not made for reading, what is in it."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value
