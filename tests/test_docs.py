"""The documentation can't lie: the README's help is generated, examples run, every command has a test.

``python tests/test_docs.py`` (or ``make docs``) writes the help into README.md.
"""

from __future__ import annotations

import html
import inspect
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from ndcli.main import main

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
BEGIN, END = "<!-- help: begin (make docs) -->", "<!-- help: end -->"
WIDTH = 100  # columns of the help in the README
PLACEHOLDER = re.compile(r"\b(TODO|FIXME|TBD|XXX)\b")


def commands(
    group: click.Command = main, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command with the words that call it, groups before what they hold."""
    yield path, group
    if isinstance(group, click.Group):
        for name, command in group.commands.items():
            yield from commands(command, (*path, name))


ALL = dict(commands())
LEAVES = {path: command for path, command in ALL.items() if not isinstance(command, click.Group)}


def title(path: tuple[str, ...]) -> str:
    return " ".join(("ndengine", *path))


def help_text(path: tuple[str, ...]) -> str:
    done = CliRunner().invoke(
        main,
        [*path, "--help"],
        prog_name="ndengine",
        terminal_width=WIDTH,
        max_content_width=WIDTH,
        color=False,
    )
    assert done.exit_code == 0, done.output
    return done.stdout


def generated() -> str:
    """The help of all commands as Markdown, folded up below what each is for."""
    blocks = [
        f"<details>\n<summary><code>{title(path)}</code> – {purpose(path)}</summary>\n\n"
        f"```text\n{help_text(path).rstrip()}\n```\n\n</details>\n"
        for path in ALL
    ]
    return "\n".join(blocks)


def purpose(path: tuple[str, ...]) -> str:
    """The first sentence of a command's help."""
    paragraph = inspect.cleandoc((ALL[path].help or "").replace("\b", "")).strip().split("\n\n")[0]
    return html.escape(" ".join(paragraph.split()), quote=False)


def replaced(text: str) -> str:
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    return f"{before}{BEGIN}\n\n{generated()}\n{END}{after}"


def test_the_help_in_the_readme_is_the_help_of_the_commands() -> None:
    text = README.read_text()
    assert replaced(text) == text, "run make docs"


def test_a_stale_help_is_noticed() -> None:
    text = README.read_text().replace("Dissect layers of a network.", "Dissect a network.")
    assert replaced(text) != text


@pytest.mark.parametrize("path", ALL, ids=title)
def test_every_help_is_an_imperative_and_has_an_example(path: tuple[str, ...]) -> None:
    text = inspect.cleandoc((ALL[path].help or "").replace("\b", ""))
    first = text.strip().splitlines()[0]
    assert first.endswith(".")
    assert not re.match(r"\w+s\b(?<!ss)", first), "an imperative, as in: Dissect layers"
    assert re.search(r"^Examples?\b.*:$", text, re.MULTILINE), "an example in every help"
    assert re.search(rf"^\s*{re.escape(title(path))}\b", text, re.MULTILINE), "of this very command"


@pytest.mark.parametrize("path", ALL, ids=title)
def test_every_option_is_explained(path: tuple[str, ...]) -> None:
    for parameter in ALL[path].params:
        if isinstance(parameter, click.Option):
            explained = re.search(r"\.(  \[default: .+\])?$", parameter.help or "")
            assert explained, f"{parameter.name}: {parameter.help}"


@pytest.mark.parametrize("path", LEAVES, ids=title)
def test_every_command_is_tested(path: tuple[str, ...]) -> None:
    """Some test calls the command by name, as in ``invoke("data", "pack", …)``."""
    words = r",\s*".join(f'"{word}"' for word in path)
    tests = "\n".join(file.read_text() for file in (ROOT / "tests" / "cli").glob("test_*.py"))
    assert re.search(rf"[(\[]\s*{words}", tests)


def shell_lines(text: str) -> list[str]:
    lines = []
    for block in re.findall(r"```(?:sh|console|bash)\n(.*?)```", text, re.DOTALL):
        lines += [line.strip() for line in block.replace("\\\n", " ").splitlines()]
    for command in ALL.values():
        lines += [line.strip() for line in (command.help or "").splitlines()]
    return [line for line in lines if line.startswith("ndengine ")]


@pytest.mark.parametrize("line", shell_lines(README.read_text()))
def test_every_command_line_that_is_shown_is_understood(line: str) -> None:
    """Parses it without running it: options and their values must exist."""
    command: click.Command = main
    words = shlex.split(line, comments=True)[1:]
    while isinstance(command, click.Group) and words and words[0] in command.commands:
        command, words = command.commands[words[0]], words[1:]
    if not (isinstance(command, click.Group) and words in ([], ["--version"])):
        command.make_context("ndengine", list(words))


def python_blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)


@pytest.mark.slow
@pytest.mark.parametrize("block", python_blocks())
def test_the_examples_of_the_readme_run(block: str, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_documentation_has_no_placeholder_and_no_dead_link() -> None:
    for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"):
        text = (ROOT / name).read_text()
        assert not PLACEHOLDER.search(text), name
        for link in re.findall(r"\]\(([^)#]+)", text):
            if not link.startswith(("http://", "https://")):
                assert (ROOT / link).exists(), f"{name}: {link}"


if __name__ == "__main__":
    README.write_text(replaced(README.read_text()))
