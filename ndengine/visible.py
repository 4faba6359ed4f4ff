"""Text from files as a person may see it: what would steer a terminal or turn a line around is written out."""

from __future__ import annotations

import re

# Controls (ESC and newline among them), marks of direction, separators of lines, invisible letters, and halves of
# characters, as Python reads names of files that are no UTF-8. Joiners stay: scripts and emoji need them.
UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)


def visible(text: str) -> str:
    r"""A text on one line in which nothing hides: ``\x1b`` stands for an escape character, ``\n`` for a new line."""
    return UNSEEN.sub(lambda found: _written(found[0]), text)


def _written(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a file's name that is no UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
