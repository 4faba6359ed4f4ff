"""Fetch published weights: resumed where it broke off, checked, and never taken for complete when it is not."""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import IO

from filelock import FileLock

from ndengine.errors import ModelError
from ndengine.progress import SILENT, Progress

BLOCK = 1 << 20
TIMEOUT = 30  # seconds without a byte
HASH = re.compile(r"-([0-9a-f]{8,})\.")  # as in vgg16-397923af.pth: the first digits of the file's SHA-256


def download(url: str, folder: Path, progress: Progress = SILENT) -> tuple[Path, str]:
    """The file behind a URL, from the folder where it is there already.

    Parameters
    ----------
    url : str
        Its last part is the file's name; digits in it, as in ``vgg16-397923af.pth``, must begin the file's SHA-256.
    folder : Path
        Where the file is kept; made if missing. A download that broke off waits there as ``NAME.part``.
    progress : Progress
        Told the bytes.

    Returns
    -------
    tuple of Path and str
        The file and its SHA-256.

    Raises
    ------
    ModelError
        If the server does not answer, has no such file, breaks off, or sends something else.
    """
    name = url.rpartition("/")[2]
    target = folder / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f"{name}.lock"):
            if target.is_file():
                digest = hash_file(target)
                if _fits(name, digest):
                    return target, digest
                progress.note(f"{target} does not have the checksum in its name and is fetched again.")
            part = folder / f"{name}.part"
            _fetch(url, part, progress)
            digest = hash_file(part)
            if not _fits(name, digest):
                part.unlink()
                raise ModelError(
                    f"{url} sent a file whose SHA-256 begins with {digest[:8]} instead of {_wanted(name)}; "
                    "run again, or give the file yourself with --weights FILE."
                )
            os.replace(part, target)
    except OSError as error:
        raise ModelError(f"{target} can't be written ({error.strerror or error}); choose another --cache.") from None
    return target, digest


def hash_file(path: Path) -> str:
    """SHA-256 of a file, as hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _wanted(name: str) -> str:
    found = HASH.search(name)
    return found[1] if found else ""


def _fits(name: str, digest: str) -> bool:
    return digest.startswith(_wanted(name))


def _fetch(url: str, part: Path, progress: Progress) -> None:
    """Bring ``part`` to its full length, going on behind the bytes that it has."""
    have = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "ndengine", "Accept-Encoding": "identity"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        answer = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if have and error.code == 416:  # nothing behind what is there: complete already, or another file's bytes
            if error.headers.get("Content-Range") == f"bytes */{have}":
                return
            part.unlink()
            return _fetch(url, part, progress)
        raise ModelError(_gone(url, f"{error.code} {error.reason}")) from None
    except (OSError, http.client.HTTPException) as error:
        raise ModelError(_gone(url, _reason(error))) from None
    with answer:
        resumed = answer.status == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        have = have if resumed else 0
        length = int(answer.headers.get("Content-Length") or 0)
        with progress.stage(f"download {part.stem}", have + length, "bytes") as advance, part.open("r+b" if resumed else "wb") as out:
            out.seek(have)
            advance(have)
            have += _copy(url, answer, out, advance)
    if length and have < int(answer.headers["Content-Length"]):
        raise ModelError(f"{url} broke off after {have:,} bytes; run again to go on from there.")
