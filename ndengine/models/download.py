"""Fetch published weights: resumed where it broke off, checked, and never taken for complete when it is not."""

from __future__ import annotations

import hashlib
import http.client
import os
import re
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

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
        Its last part is the file's name; digits in it, as in ``vgg16-397923af.pth``, must begin the file's
        SHA-256.
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
    target, part = folder / name, folder / f"{name}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f"{name}.lock"):  # a second run waits here and then finds the file
            if target.is_file():
                digest = hash_file(target)
                if is_intact(name, digest):
                    return target, digest
                progress.note(f"{target} has another checksum than its name says and is fetched again.")
            _fetch(url, part, progress)
            digest = hash_file(part)
            if not is_intact(name, digest):
                part.unlink()
                raise ModelError(
                    f"{url} sent a file whose SHA-256 begins with {digest[:8]}, not {expected_digits(name)}; "
                    "run again, or get the file elsewhere and give it with --weights FILE."
                )
            os.replace(part, target)
    except OSError as error:
        raise ModelError(
            f"{target} can't be kept ({error.strerror or error}); choose another folder with --cache."
        ) from None
    return target, digest


def hash_file(path: Path) -> str:
    """SHA-256 of a file, as hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def expected_digits(name: str) -> str:
    """The first digits of a published file's SHA-256, from its name; empty where the name has none."""
    found = HASH.search(name)
    return found[1] if found else ""


def is_intact(name: str, digest: str) -> bool:
    """Whether a file's SHA-256 begins as its name says; a name that says nothing is believed."""
    return digest.startswith(expected_digits(name))


def _fetch(url: str, part: Path, progress: Progress) -> None:
    """Bring ``part`` to its full length, going on behind the bytes that it has."""
    have = part.stat().st_size if part.is_file() else 0
    answer = _open(url, have)
    if answer is None and have:  # nothing lies behind what is there: it is complete, or another file's
        part.unlink()
        have, answer = 0, _open(url, 0)
    if answer is None:
        raise _refused(url, "416 Range Not Satisfiable")
    with answer:
        if answer.status != 206:
            have = 0
        total = have + int(answer.headers.get("Content-Length") or 0)
        with (
            progress.stage(f"download {part.stem}", total, "bytes") as advance,
            part.open("ab" if have else "wb") as out,
        ):
            advance(have)
            while block := _read(url, answer, have):
                out.write(block)
                advance(len(block))
                have += len(block)
    if have < total:
        raise _broke_off(url, have)


def _open(url: str, start: int) -> http.client.HTTPResponse | None:
    """The server's answer from byte ``start`` on, or from 0 if it can't; None if it has nothing from there on."""
    headers = {"User-Agent": "ndengine", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    try:
        answer: http.client.HTTPResponse = urlopen(Request(url, headers=headers), timeout=TIMEOUT)
    except HTTPError as error:
        error.close()
        if error.code == 416:
            return None
        raise _refused(url, f"{error.code} {error.reason}") from None
    except (OSError, http.client.HTTPException) as error:
        raise _refused(url, str(getattr(error, "reason", error)) or type(error).__name__) from None
    return answer


def _read(url: str, answer: http.client.HTTPResponse, have: int) -> bytes:
    try:
        return answer.read(BLOCK)
    except (OSError, http.client.HTTPException):
        raise _broke_off(url, have) from None


def _refused(url: str, reason: str) -> ModelError:
    return ModelError(
        f"{url} can't be fetched ({reason}); get that file elsewhere and give it with --weights FILE, or use "
        "--weights random."
    )


def _broke_off(url: str, have: int) -> ModelError:
    return ModelError(
        f"{url} broke off after {have} bytes; run again to go on from there, or get the file elsewhere and give it "
        "with --weights FILE."
    )
