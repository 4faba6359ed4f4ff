"""Fetch published weights: resumed where it broke off, checked, and never taken for complete when it is not."""

from __future__ import annotations

import hashlib
import http.client
import os
import re
from collections.abc import Sequence
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from filelock import FileLock

from ndengine.errors import ModelError
from ndengine.progress import SILENT, Progress

BLOCK = 1 << 20
TIMEOUT = 30  # seconds without a byte
HASH = re.compile(r"-([0-9a-f]{8,})\.")  # as in vgg16-397923af.pth: the first digits of the file's SHA-256


class FetchError(ModelError):
    """A file that its servers did not give; ``reason`` says why in a few words."""

    def __init__(self, text: str, reason: str) -> None:
        super().__init__(text)
        self.reason = reason


def download(
    urls: str | Sequence[str], folder: Path, progress: Progress = SILENT, *, name: str = ""
) -> tuple[Path, str]:
    """The file behind a URL, from the folder where it is there already.

    Parameters
    ----------
    urls : str or sequence of str
        Where it is; several are tried in turn.
    folder : Path
        Where the file is kept; made if missing. A download that broke off waits there as ``NAME.part``, beside
        ``NAME.part.version``, by which the server tells whether its file is still the same.
    progress : Progress
        Told the bytes, and which URLs failed before another one is tried.
    name : str
        What the file is called there; the last part of the first URL unless given. Digits in it, as in
        ``vgg16-397923af.pth``, must begin the file's SHA-256.

    Returns
    -------
    tuple of Path and str
        The file and its SHA-256.

    Raises
    ------
    ModelError
        If no server answers, has such a file, and sends it whole.
    """
    urls = [urls] if isinstance(urls, str) else urls
    name = name or urls[0].rpartition("/")[2]
    target = folder / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f"{name}.lock"):  # a second run waits here and then finds the file
            if target.is_file():
                digest = hash_file(target)
                if is_intact(name, digest):
                    return target, digest
                progress.note(f"{target} has another checksum than its name says and is fetched again.")
            part, digest = _fetch_any(urls, target, progress)
            os.replace(part, target)
            for place in range(len(urls)):  # what other servers had begun to send
                _drop(_part(target, place))
    except OSError as error:
        raise ModelError(
            f"{target} can't be kept ({error.strerror or error}); choose another folder with --cache."
        ) from None
    return target, digest


def _fetch_any(urls: Sequence[str], target: Path, progress: Progress) -> tuple[Path, str]:
    """The file from the first server that gives it, and its SHA-256."""
    failures = []
    for place, url in enumerate(urls):
        part = _part(target, place)
        try:
            return part, _fetch_checked(url, part, target.name, progress)
        except FetchError as failure:
            failures.append(failure)
            if place + 1 < len(urls):
                progress.note(f"{url} failed ({failure.reason}); another server is tried.")
    if len(failures) == 1:
        raise failures[0]
    tried = ", ".join(f"{url} ({failure.reason})" for url, failure in zip(urls, failures, strict=True))
    raise FetchError(
        f"{target.name} can't be fetched from {tried}; run again later, or {elsewhere(target)}.",
        "no server gives it",
    )


def _part(target: Path, place: int) -> Path:
    """Where a server's part is kept, apart from the others': nobody would notice a file made of parts of two."""
    return target.with_name(f"{target.name}.{place}.part" if place else f"{target.name}.part")


def _version_of(part: Path) -> Path:
    """Where it is kept of which version of a server's file a part is."""
    return part.with_name(f"{part.name}.version")


def _drop(part: Path) -> None:
    part.unlink(missing_ok=True)
    _version_of(part).unlink(missing_ok=True)


def _fetch_checked(url: str, part: Path, name: str, progress: Progress) -> str:
    """Bring ``part`` to its full length, and give its SHA-256 if it is what its name says."""
    _fetch(url, part, name, progress)
    digest = hash_file(part)
    if not is_intact(name, digest):
        _drop(part)
        reason = f"SHA-256 begins with {digest[:8]}, not {expected_digits(name)}"
        raise FetchError(
            f"{url} sent a file whose {reason}; run again, or {elsewhere(part.with_name(name))}.",
            reason,
        )
    if not expected_digits(name) and _is_page(part):
        _drop(part)
        raise _refused(url, "it sends a web page", part.with_name(name))
    return digest


def _is_page(path: Path) -> bool:
    """Whether a file is a web page, as servers send it for what has moved."""
    with path.open("rb") as file:
        return file.read(512).lstrip().lower().startswith((b"<!doctype", b"<html", b"<head"))


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


def _fetch(url: str, part: Path, name: str, progress: Progress) -> None:
    """Bring ``part`` to its full length, going on behind the bytes that it has if the server's file is the same."""
    target, kept = part.with_name(name), _version_of(part)
    have = part.stat().st_size if part.is_file() else 0
    version = kept.read_text() if have and kept.is_file() else ""
    answer = _open(url, have, version, target)
    if answer and answer.status == 206 and version and _version(answer) not in ("", version):
        answer.close()  # not every server heeds If-Range
        answer = None
    if answer is None and have:  # nothing lies behind what is there: it is complete, or another file's
        _drop(part)
        have, answer = 0, _open(url, 0, "", target)
    if answer is None:
        raise _refused(url, "416 Range Not Satisfiable", target)
    with answer:
        if answer.status != 206:
            have = 0
            part.unlink(missing_ok=True)  # never an old part beside a new version
            kept.write_text(_version(answer))
        total = have + int(answer.headers.get("Content-Length") or 0)
        with (
            progress.stage(f"download {name}", total, "bytes") as advance,
            part.open("ab" if have else "wb") as out,
        ):
            advance(have)
            while block := _read(url, answer, have, target):
                out.write(block)
                advance(len(block))
                have += len(block)
    if have < total:
        raise _broke_off(url, have, target)


def _version(answer: http.client.HTTPResponse) -> str:
    """What tells a version of the file from others, byte by byte; empty where the server says nothing of that kind."""
    tag = answer.headers.get("ETag", "")
    return tag if tag.startswith('"') else answer.headers.get("Last-Modified", "")  # a weak tag promises too little


def _open(url: str, start: int, version: str, target: Path) -> http.client.HTTPResponse | None:
    """The server's answer from byte ``start`` on, or from 0 if it can't; None if it has nothing from there on."""
    headers = {"User-Agent": "ndengine", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    if version:
        headers["If-Range"] = version
    try:
        answer: http.client.HTTPResponse = urlopen(Request(url, headers=headers), timeout=TIMEOUT)
    except HTTPError as error:
        error.close()
        if error.code == 416:
            return None
        raise _refused(url, f"{error.code} {error.reason}", target) from None
    except (OSError, http.client.HTTPException) as error:
        cause = getattr(error, "reason", error)
        reason = getattr(cause, "strerror", None) or str(cause) or type(error).__name__
        raise _refused(url, reason, target) from None
    return answer


def _read(url: str, answer: http.client.HTTPResponse, have: int, target: Path) -> bytes:
    try:
        return answer.read(BLOCK)
    except (OSError, http.client.HTTPException):
        raise _broke_off(url, have, target) from None


def elsewhere(target: Path) -> str:
    """What to do about a file that no server gives, for the end of an error."""
    return (
        f"get it elsewhere and put it into {target.parent} as {target.name}, or give it to `ndengine run` with "
        "--weights FILE"
    )


def _refused(url: str, reason: str, target: Path) -> FetchError:
    return FetchError(
        f"{url} can't be fetched ({reason}); run again later, or {elsewhere(target)}.",
        reason,
    )


def _broke_off(url: str, have: int, target: Path) -> FetchError:
    return FetchError(
        f"{url} broke off after {have} bytes; run again to go on from there, or {elsewhere(target)}.",
        f"broke off after {have} bytes",
    )
