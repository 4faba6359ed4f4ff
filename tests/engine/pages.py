"""A page as tests look at it: a flat list of tags, each with the text inside it."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path


@dataclass
class Tag:
    name: str
    attributes: dict[str, str]
    text: str = ""


@dataclass
class Page(HTMLParser):
    """A page as a flat list of tags, each with all the text inside it; unbalanced tags are an error."""

    tags: list[Tag] = field(default_factory=list)
    open: list[Tag] = field(default_factory=list)

    VOID = ("meta", "link", "input", "img", "br")

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = Tag(tag, {k: v or "" for k, v in attrs})
        self.handle_data(" ")  # two cells are two words
        self.tags.append(found)
        if tag not in self.VOID:
            self.open.append(found)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(Tag(tag, {k: v or "" for k, v in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().name == tag, f"{tag} closes out of turn"

    def handle_data(self, data: str) -> None:
        for tag in self.open:
            tag.text += data

    def all(self, name: str, **attributes: str) -> list[Tag]:
        return [
            t
            for t in self.tags
            if t.name == name and all(t.attributes.get(k.rstrip("_")) == v for k, v in attributes.items())
        ]


def read(path: Path) -> Page:
    page = Page()
    page.feed(path.read_text("utf-8"))
    page.close()
    assert not page.open
    return page


def links(page: Page) -> list[str]:
    return [
        t.attributes[key]
        for t in page.tags
        for key in ("src", "href")
        if key in t.attributes and t.attributes[key] != "data:,"
    ]
