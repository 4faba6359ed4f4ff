"""Names that are shortened for a figure so that what tells them apart stays."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

# A word with the signs behind it; a point before a digit belongs to a number.
WORD = re.compile(r".+?(?:[-_/,:=\s]+|\.(?!\d)|$)", re.DOTALL)
SIGNS = "-_/,=. "  # dropped before a gap; a colon stays, for it says what the word is


def shorten_apart(names: Sequence[str], letters: int) -> list[str]:
    """Names of no more letters, or a quarter more where it takes them; different names stay different.

    Words that all names of one beginning have in common give way first, those at the front before others: what is left
    of ``net-rotate-0.5-seed-1`` beside ``net-rotate-1.0-seed-1`` is ``…0.5-seed-1``. Names that no cut tells apart
    are numbered by their place.
    """
    wanted = list(dict.fromkeys(names))
    short = {name: name for name in wanted if len(name) <= letters}
    kin: defaultdict[str, list[str]] = defaultdict(list)
    for name in wanted:
        if name not in short:
            kin[_words(name)[0]].append(name)
    first_tells = len({_words(name)[0] for name in wanted}) > 1
    for members in kin.values():
        short |= zip(members, _shorten_kin(members, letters, first_tells=first_tells), strict=True)
    taken: set[str] = set()
    for name in list(short):  # those in full come first
        number = wanted.index(name) + 1
        while short[name] in taken:
            mark = f" #{number}"
            short[name] = _shorten_inside(name, letters - len(mark)) + mark
            number += len(wanted)
        taken.add(short[name])
    return [short[name] for name in names]


def _shorten_kin(names: Sequence[str], letters: int, *, first_tells: bool) -> list[str]:
    """Names that begin with the same word; that word stays where it tells them from others."""
    limits = (letters, letters + letters // 4)
    if len(names) > 1:
        words = [_words(name) for name in names]
        common = [at for at in _common(words) if at or not first_tells]
        for limit in limits:
            for count in range(1, len(common) + 1):
                cut = [_leave_out(parts, common[:count]) for parts in words]
                if max(map(len, cut)) <= limit:
                    return cut
    for limit in limits:
        cut = [_shorten_inside(name, limit) for name in names]
        if len(set(cut)) == len(names):
            break
    return cut


def _words(name: str) -> list[str]:
    return WORD.findall(name) or [""]


def _common(names: Sequence[Sequence[str]]) -> list[int]:
    """Places of the words that all names share, in order; those counted from the end are negative.

    Of names with as many words each, words are compared place by place, else from both ends.
    """
    fewest = min(map(len, names))

    def is_shared(at: int) -> bool:
        return len({words[at] for words in names}) == 1

    if fewest == max(map(len, names)):
        return [at for at in range(fewest) if is_shared(at)]
    ahead = next((at for at in range(fewest - 1) if not is_shared(at)), fewest - 1)
    room = fewest - 1 - ahead  # a word of each stays
    behind = next((n for n in range(room) if not is_shared(-1 - n)), room)
    return [*range(ahead), *range(-behind, 0)]


def _leave_out(words: Sequence[str], places: Sequence[int]) -> str:
    """Words without some of them; one sign stands for each gap."""
    gone = {at % len(words) for at in places}
    text = ""
    for at, word in enumerate(words):
        if at not in gone:
            text += word
        elif at - 1 not in gone:
            text = text.rstrip(SIGNS) + "…"
    return text


def _shorten_inside(name: str, letters: int) -> str:
    """A name of no more letters, cut in the middle: what tells names apart stands mostly at the end."""
    if len(name) <= letters:
        return name
    head = letters // 2
    return f"{name[:head].rstrip()}…{name[len(name) - (letters - head - 1) :].lstrip()}"
