"""Protobuf's text format: messages of fields, without a schema.

A field is ``name: value`` or ``name { fields }``; it may be there several times. Values are numbers, strings,
words of an enumeration, and lists of any of them. Everything that Caffe's own parser takes is taken.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NoReturn

from ndengine.errors import ModelError
from ndengine.models.caffe.definition import Option, Value

DEEPEST = 32  # messages inside messages; Caffe's own networks need five
LARGEST = 4 * 2**20  # characters; ResNet-152 takes a hundred thousand
MOST_TOKENS = 300_000  # names, values and marks; ResNet-152 has 20,000

# Nothing is given back once it has been matched: going back would take time by the square of a token's length, and
# memory for each of its characters.
_TOKEN = re.compile(
    r"""(?P<space>\s+|\#[^\n]*)
    |(?P<word>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<number>(?:0[xX][0-9a-fA-F]++|(?>[0-9]++(?:\.[0-9]*+)?+|\.[0-9]++)(?:[eE][+-]?[0-9]++)?+[fF]?+)(?![\w.]))
    |(?P<string>"[^"\\\n]*+(?:\\[^\n][^"\\\n]*+)*+"|'[^'\\\n]*+(?:\\[^\n][^'\\\n]*+)*+')
    |(?P<mark>[{}<>\[\]:;,./-])""",
    re.VERBOSE,
)
_ESCAPE = re.compile(rb"\\(?:([0-7]{1,3})|[xX]([0-9a-fA-F]{1,2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))", re.DOTALL)
_ESCAPED = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"a": b"\a", b"b": b"\b", b"f": b"\f", b"v": b"\v"}
_WORDS: dict[str, Value] = {"true": True, "True": True, "t": True, "false": False, "False": False, "f": False}
_INFINITE = {"inf": float("inf"), "infinity": float("inf"), "nan": float("nan")}
_ENDS = {"{": "}", "<": ">"}
_LONGEST_NUMBER = 320  # characters: enough for any double written out
_INTEGERS = 2**64  # Caffe's are below it


@dataclass(slots=True)
class Message:
    """Fields by name.

    Attributes
    ----------
    source : str
        The file, for errors.
    line : int
        Where it begins.
    fields : dict
        For each name its values in order, each with its line.
    """

    source: str
    line: int
    fields: dict[str, list[tuple[Value | Message, int]]] = field(default_factory=dict)

    def messages(self, name: str) -> list[Message]:
        """All messages of a name."""
        found = []
        for value, line in self.fields.get(name, ()):
            if not isinstance(value, Message):
                fail(self.source, line, f"{name} is a message, in braces, and not a value")
            found.append(value)
        return found

    def message(self, name: str) -> Message:
        """The one message of a name; an empty one where there is none."""
        found = self.messages(name)
        if len(found) > 1:
            fail(self.source, found[1].line, f"{name} is there a second time")
        return found[0] if found else Message(self.source, self.line)

    def values(self, name: str) -> tuple[Value, ...]:
        """All values of a name."""
        found = []
        for value, line in self.fields.get(name, ()):
            if isinstance(value, Message):
                fail(self.source, line, f"{name} is a value, and not a message in braces")
            found.append(value)
        return tuple(found)

    def value(self, name: str) -> Value | None:
        """The one value of a name; None where there is none."""
        found = self.values(name)
        if len(found) > 1:
            fail(self.source, self.fields[name][1][1], f"{name} is there a second time")
        return found[0] if found else None

    def texts(self, name: str) -> tuple[str, ...]:
        """All values of a name, which must be strings or words."""
        found = self.values(name)
        for (_, line), value in zip(self.fields.get(name, ()), found, strict=True):
            if not isinstance(value, str):
                fail(self.source, line, f"{name} is {value!r} where a text is needed")
            if not value.isprintable():
                fail(self.source, line, f"{name} has characters that can't be printed")
        return tuple(map(str, found))

    def text(self, name: str) -> str:
        """The one text of a name; empty where there is none."""
        self.value(name)
        return next(iter(self.texts(name)), "")

    def whole_numbers(self, name: str, least: int, most: int) -> tuple[int, ...]:
        """All values of a name, which must be whole numbers in a range."""
        found = []
        for (_, line), value in zip(self.fields.get(name, ()), self.values(name), strict=True):
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
                fail(
                    self.source, line, f"{name} is {value!r:.40} where a whole number from {least} to {most} is needed"
                )
            found.append(value)
        return tuple(found)

    def whole_number(self, name: str, default: int, least: int, most: int) -> int:
        """The one whole number of a name."""
        self.value(name)
        return next(iter(self.whole_numbers(name, least, most)), default)

    def options(self) -> dict[str, Option]:
        """All fields as options of a layer; of messages inside, only that they are there."""
        found: dict[str, Option] = {}
        for name, values in self.fields.items():
            plain = tuple("{…}" if isinstance(value, Message) else value for value, _ in values)
            found[name] = plain[0] if len(plain) == 1 else plain
        return found


def fail(source: str, line: int, what: str) -> NoReturn:
    """Raise the error about a line."""
    raise ModelError(f"{source} can't be read at line {line}: {what}; correct it there.")


def parse_text(text: str, source: str) -> Message:
    """Read a message in protobuf's text format.

    Parameters
    ----------
    text : str
    source : str
        The file, for errors.

    Raises
    ------
    ModelError
        If it breaks the format, naming the line; or has more than 4 million characters, 300,000 tokens or 32 levels.
    """
    if len(text) > LARGEST:
        raise ModelError(f"{source} has {len(text):,} characters, more than {LARGEST:,}; use a network's definition.")
    return _Parser(text, source).parse()


class _Parser:
    """Reads tokens one ahead."""

    def __init__(self, text: str, source: str) -> None:
        self._source = source
        self._text = text
        self._tokens = self._scan()
        self._kind, self._token, self._line = next(self._tokens)

    def parse(self) -> Message:
        whole = Message(self._source, 1)
        self._fields(whole, "", 0)
        return whole

    def _scan(self) -> Iterator[tuple[str, str, int]]:
        place, line, tokens = 0, 1, 0
        while place < len(self._text):
            found = _TOKEN.match(self._text, place)
            if found is None:
                rest = self._text[place : place + 20].split()[:1] or [self._text[place]]
                fail(self._source, line, f"{rest[0]!r} belongs to nothing")
            kind, token = str(found.lastgroup), found.group()
            if kind != "space":
                tokens += 1
                if tokens > MOST_TOKENS:
                    fail(self._source, line, f"it has more than {MOST_TOKENS:,} names, values and marks up to here")
                yield kind, token, line
            else:
                line += token.count("\n")
            place = found.end()
        yield "end", "", line

    def _advance(self) -> str:
        token = self._token
        if self._kind != "end":
            self._kind, self._token, self._line = next(self._tokens)
        return token

    def _takes(self, mark: str) -> bool:
        if self._kind == "mark" and self._token == mark:
            self._advance()
            return True
        return False

    def _fail(self, what: str) -> NoReturn:
        fail(self._source, self._line, what)

    def _fields(self, message: Message, end: str, depth: int) -> None:
        if depth > DEEPEST:
            self._fail(f"it has more than {DEEPEST} messages inside each other")
        while not (self._takes(end) if end else self._kind == "end"):
            if self._kind == "end":
                self._fail(f"it ends inside the message that begins at line {message.line}")
            name, line = self._name(), self._line
            colon = self._takes(":")
            entries: list[tuple[Value | Message, int]] = []
            if self._takes("["):
                while not self._takes("]"):
                    entries.append((self._value(name, depth, colon=True), line))
                    if not self._takes(",") and self._token != "]":
                        self._fail(f"the list of {name} lacks its ']'")
            else:
                entries.append((self._value(name, depth, colon), line))
            if entries:  # an empty list is no field at all
                message.fields.setdefault(name, []).extend(entries)
            if not self._takes(";"):
                self._takes(",")

    def _name(self) -> str:
        if self._takes("["):  # an extension, or a message of any type: [some.name/of.a.type]
            parts = []
            while not self._takes("]"):
                if self._kind == "end" or (self._kind == "mark" and self._token not in "./-"):
                    self._fail("a name in brackets lacks its ']'")
                parts.append(self._advance())
            return "".join(parts)
        if self._kind != "word":
            self._fail(f"{self._token[:20]!r} stands where the name of a field is needed")
        return self._advance()

    def _value(self, name: str, depth: int, colon: bool) -> Value | Message:
        line = self._line
        if self._kind == "mark" and self._token in _ENDS:
            message = Message(self._source, line)
            self._fields(message, _ENDS[self._advance()], depth + 1)
            return message
        if not colon:
            self._fail(f"{name[:40]} has neither a value behind ':' nor a message in braces")
        if self._kind == "string":
            parts = []
            while self._kind == "string":
                parts.append(_unescape(self._advance()[1:-1]))
            return "".join(parts)
        minus = self._takes("-")
        if self._kind not in ("number", "word"):
            self._fail(f"{name[:40]} has no value")
        token = self._token
        value = (
            self._number(token) if self._kind == "number" else _WORDS.get(token, _INFINITE.get(token.lower(), token))
        )
        if minus and isinstance(value, bool | str):
            self._fail(f"'-{token[:20]}' is no number")
        self._advance()
        return -value if minus and not isinstance(value, str) else value

    def _number(self, token: str) -> int | float:
        if len(token) > _LONGEST_NUMBER:
            self._fail("it has a number of hundreds of digits")
        base = 16 if token[:2] in ("0x", "0X") else 8 if len(token) > 1 and token[0] == "0" else 10
        if base != 16 and not token.isdecimal():
            return float(token.rstrip("fF"))
        if base == 8 and not set(token) <= set("01234567"):
            self._fail(f"{token} begins like an octal number and is none")
        whole = int(token, base)
        if whole >= _INTEGERS:
            self._fail("it has a whole number of more than 64 bits")
        return whole


def _unescape(text: str) -> str:
    """A string without its escapes, which stand for bytes of UTF-8, or for characters by number."""

    def plain(found: re.Match[bytes]) -> bytes:
        octal, byte, short, long, other = found.groups()
        if octal or byte:
            return bytes([(int(octal, 8) if octal else int(byte, 16)) & 255])
        if short or long:
            number = int(short or long, 16)
            return chr(number).encode(errors="replace") if number < 0x110000 else b"?"
        return _ESCAPED.get(other, other)

    return _ESCAPE.sub(plain, text.encode()).decode(errors="replace") if "\\" in text else text
