"""Whether a finished result may be taken for what a run would compute."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ndengine.datasets.open import data_fingerprint
from ndengine.errors import ResultError
from ndengine.models.download import hash_file
from ndengine.result_record import read_record
from ndengine.settings import Settings, own_rotation


def refuse_other_settings(settings: Settings, out: Path) -> None:
    """Raise ResultError if the result in ``out`` was made with other settings."""
    found = read_record(out)
    changed = settings.differences(found.settings, found.provenance)
    if changed:
        raise ResultError(
            f"{out} holds a dissection with other settings ({', '.join(changed)}); "
            "choose another --out, or replace it with --overwrite."
        )
    settings.rotation(own_rotation(found.provenance))  # a seed of nothing is refused, as it would be by a run


def changed_contents(settings: Settings, provenance: Mapping[str, Any]) -> list[str]:
    """What of ``data``, ``model`` and ``weights`` has another content than a result with these settings was made of.

    Parameters
    ----------
    settings : Settings
        They name the files.
    provenance : mapping
        The result's.

    Raises
    ------
    DatasetError
        If the dataset is damaged.
    """
    model, weights = Path(settings.model), Path(settings.weights)
    known, dataset = provenance.get("model") or {}, provenance.get("dataset") or {}
    fingerprint = data_fingerprint(settings.data)
    definition = known.get("file_sha256")
    return [
        what
        for what, differs in (
            ("data", fingerprint not in (None, dataset.get("fingerprint"))),
            ("model", bool(definition) and model.is_file() and definition != hash_file(model)),
            ("weights", weights.is_file() and known.get("weights_sha256") != hash_file(weights)),
        )
        if differs
    ]


def refuse_changed_contents(settings: Settings, provenance: Mapping[str, Any], out: Path) -> None:
    """Raise ResultError if the result in ``out`` was made of files that have another content now."""
    if changed := changed_contents(settings, provenance):
        raise ResultError(
            f"{out} was made when the {' and the '.join(changed)} had another content; "
            "choose another --out, or replace it with --overwrite."
        )
