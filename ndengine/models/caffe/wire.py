"""Protobuf's wire format: fields by number, found in a buffer without copying it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ndengine.errors import ModelError

VARINT, EIGHT, BYTES, FOUR = 0, 1, 2, 5  # wire types; 3 and 4 are groups, which Caffe has never had
MOST_FIELDS = 2**18  # of a file, runs of equal fields counted once; ResNet-152's has 20,000
_FIRST_LOOK = 64  # repetitions of a tag, twice as many each time that all are the same


@dataclass(frozen=True)
class Wire:
    """A field as it lies in the buffer.

    Attributes
    ----------
    number : int
    kind : int
        Its wire type.
    start, end : int
        Its content's bytes, without tag and length.
    value : int
        Of a varint; 0 for others.
    count : int
        Of a field of fixed length, how often it is there in a row, each time behind its tag of one byte: writers may
        leave numbers unpacked.
    """

    number: int
    kind: int
    start: int
    end: int
    value: int = 0
    count: int = 1


class WireReader:
    """Reads fields from a buffer.

    Parameters
    ----------
    data : ndarray of uint8
    source : str
        The file, for errors.
    """

    def __init__(self, data: NDArray[np.uint8], source: str) -> None:
        self.data = data
        self._bytes = data.data
        self._source = source
        self._fields = 0

    def fields(self, start: int, end: int) -> Iterator[Wire]:
        """The fields of the message in some bytes, in order.

        Raises
        ------
        ModelError
            If the bytes are no such message, or fields beyond all reason have been read.
        """
        place = start
        while place < end:
            self._fields += 1
            if self._fields > MOST_FIELDS:
                raise self.damaged(place, f"it has more than {MOST_FIELDS:,} fields")
            tag, behind = self.varint(place, end)
            number, kind = tag >> 3, tag & 7
            if not 0 < number < 2**29:
                raise self.damaged(place, f"{number} is no number of a field")
            value, count = 0, 1
            if kind == VARINT:
                value, stop = self.varint(behind, end)
            elif kind == BYTES:
                length, behind = self.varint(behind, end)
                stop = behind + length
            elif kind in (EIGHT, FOUR):
                width = 8 if kind == EIGHT else 4
                count = self._row(place, end, width + 1) if behind == place + 1 else 1
                stop = place + count * (behind - place + width)
            else:
                raise self.damaged(place, f"field {number} has the type {kind}, which Caffe does not use")
            if stop > end:
                raise self.damaged(place, f"field {number} is cut off")
            yield Wire(number, kind, behind, stop, value, count)
            place = stop

    def varint(self, place: int, end: int) -> tuple[int, int]:
        """A number of up to 64 bits, and the place behind it."""
        value = shift = 0
        for at in range(place, min(place + 10, end)):
            byte = self._bytes[at]
            value |= (byte & 127) << shift
            if byte < 128:
                if value >= 2**64:
                    break
                return value, at + 1
            shift += 7
        raise self.damaged(place, "a number is cut off or longer than 64 bits")

    def _row(self, place: int, end: int, step: int) -> int:
        """How often the byte at a place comes again, each time a step further."""
        tags = self.data[place:end:step]
        count, look = 1, _FIRST_LOOK
        while count < len(tags):
            others = np.flatnonzero(tags[count : count + look] != tags[0])
            if len(others):
                count += int(others[0])
                break
            count = min(count + look, len(tags))
            look *= 2
        return count

    def text(self, field: Wire) -> str:
        """A field's bytes as text."""
        return bytes(self._bytes[field.start : field.end]).decode(errors="replace")

    def damaged(self, place: int, what: str) -> ModelError:
        """The error about a place."""
        return ModelError(
            f"{self._source} is damaged, incomplete or no caffemodel (at byte {place}: {what}); get it again."
        )
