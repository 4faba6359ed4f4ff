"""Encoded labels as the GPU's tally reads them: padded codes, and small tables that spare it every question.

All of it runs on the labels' own device and asks nothing back from it.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from ndkernels.labels import LabelBlock


def pad_codes(codes: Tensor, multiple: int) -> Tensor:
    """Codes ``[B, H, W]`` with rows padded by zeros to a multiple of the lanes; two bytes or four as they came."""
    signed = codes.view(torch.int16) if codes.dtype == torch.uint16 else codes  # few operations know uint16
    padded = pad(signed, (0, -codes.shape[2] % multiple)).contiguous()
    return padded.view(codes.dtype)


def pack_entries(
    labels: LabelBlock,
    category: Tensor,  # [C] int32
    once: bool,
) -> tuple[Tensor, Tensor]:
    """All that the tally asks about an entry or a whole-image label, in one number.

    Parameters
    ----------
    labels : LabelBlock
    category : Tensor
        ``[C]`` int32: the primary category of concept j + 1, or -1.
    once : bool
        Whether a concept given twice at a pixel counts there once; a whole-image label already covers every pixel of
        its concept.

    Returns
    -------
    entries, wholes : Tensor
        ``[E]`` and ``[L]`` int64: the concept from bit 32, its category in bits 8 to 31 (all ones for none), and in
        the lowest eight how often it counts at a pixel, from 0 to 255.
    """
    entry_times, whole_times = labels.entry_times, labels.whole_times
    if once:
        covered = torch.zeros(len(labels) * (len(category) + 1), dtype=torch.bool, device=category.device)
        covered[whole_images(labels) * (len(category) + 1) + labels.whole_concept] = True
        entry_times = ~covered[entry_images(labels) * (len(category) + 1) + labels.entry_concept]
        whole_times = torch.ones_like(whole_times)
    entries, wholes = (
        c.long() << 32 | (category[c.long() - 1].long() & 0xFFFFFF) << 8 | times.long()
        for c, times in ((labels.entry_concept, entry_times), (labels.whole_concept, whole_times))
    )
    return entries, wholes


def carry_categories(
    labels: LabelBlock,
    category: Tensor,  # [C] int32
    categories: int,
    area: int,
) -> Tensor:
    """The categories for which a unit's area counts on an image, whatever pixels its mask touches.

    Parameters
    ----------
    labels : LabelBlock
        B images.
    category : Tensor
        ``[C]`` int32: the primary category of concept j + 1, or -1.
    categories : int
        K.
    area : int
        Index into ``ndkernels.tally.AREAS``: those that the image carries, those of its whole-image labels (which any
        mask touches), or all.

    Returns
    -------
    Tensor
        ``[B, K]`` uint8.
    """
    if area == 2:
        return torch.ones((len(labels), categories), dtype=torch.uint8, device=category.device)
    carried = torch.zeros((len(labels), categories + 1), dtype=torch.uint8, device=category.device)
    pairs = [(whole_images(labels), labels.whole_concept)]
    if area == 0:
        pairs.append((entry_images(labels), labels.entry_concept))
    for images, concept in pairs:
        carried[images, category[concept.long() - 1].long()] = 1  # -1, none, is the last column
    return carried[:, :categories].contiguous()


def whole_images(labels: LabelBlock) -> Tensor:
    """The image of each whole-image label, ``[L]`` int64."""
    return owners(labels.whole_start, len(labels.whole_concept))


def entry_codes(labels: LabelBlock) -> Tensor:
    """The combination of each entry, ``[E]`` int64."""
    return owners(labels.entry_start, len(labels.entry_concept))


def entry_images(labels: LabelBlock) -> Tensor:
    """The image of each entry, ``[E]`` int64."""
    return owners(labels.code_start, len(labels.code_area))[entry_codes(labels)]


def owners(start: Tensor, length: int) -> Tensor:
    """Of ``length`` things in a row, the group that each belongs to: group g has ``start[g] : start[g + 1]``."""
    # The length is given, so the device need not be asked for it.
    return torch.arange(len(start) - 1, device=start.device).repeat_interleave(start.diff(), output_size=length)
