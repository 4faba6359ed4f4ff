"""Downloads against a server on this machine that behaves as badly as real ones."""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ndengine.errors import ModelError
from ndengine.models.download import download, expected_digits, hash_file, is_intact

CONTENT = bytes(range(256)) * 9000  # more than two blocks
DIGEST = hashlib.sha256(CONTENT).hexdigest()
NAME = f"net-{DIGEST[:8]}.pth"


class Server(ThreadingHTTPServer):
    """Serves one file; notes each request's Range header."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = CONTENT
        self.ranges: list[str | None] = []
        self.resumable = True
        self.cut: int | None = None  # bytes after which a connection is dropped
        self.length = True
        self.versions: dict[str, str] = {}  # headers that tell one version of the file from another
        self.heeds_if_range = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/models/{NAME}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.ranges.append(wanted)
        version = self.headers.get("If-Range")
        if version and self.server.heeds_if_range and version not in self.server.versions.values():
            wanted = None
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and self.server.resumable else 0
        if self.path != f"/models/{NAME}":
            return self.send_error(404)
        size = len(self.server.content)
        if wanted and self.server.resumable and start >= size:
            return self.send_error(416)
        self.send_response(206 if wanted and self.server.resumable else 200)
        for header, value in self.server.versions.items():
            self.send_header(header, value)
        if self.server.length:
            self.send_header("Content-Length", str(size - start))
        if wanted and self.server.resumable:
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        self.end_headers()
        body = self.server.content[start:]
        self.wfile.write(body[: self.server.cut])
        return None

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


class Listener:
    def __init__(self) -> None:
        self.stages: list[tuple[str, int, str]] = []
        self.steps: list[int] = []
        self.notes: list[str] = []

    @contextmanager
    def stage(self, title: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
        self.stages.append((title, total, unit))
        yield self.steps.append

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_a_file_is_fetched_once(server: Server, tmp_path: Path) -> None:
    listener = Listener()
    path, digest = download(server.url, tmp_path / "new" / "weights", listener)
    assert (path, digest) == (tmp_path / "new" / "weights" / NAME, DIGEST)
    assert path.read_bytes() == CONTENT
    assert listener.stages == [(f"download {NAME}", len(CONTENT), "bytes")]
    assert sum(listener.steps) == len(CONTENT)
    assert not list(path.parent.glob("*.part"))
    assert download(server.url, path.parent, listener) == (path, DIGEST)
    assert server.ranges == [None]


def test_a_broken_download_goes_on_where_it_stopped(server: Server, tmp_path: Path) -> None:
    server.cut = 1_500_000
    with pytest.raises(ModelError, match=f"{server.url} broke off after 1500000 bytes; run again to go on"):
        download(server.url, tmp_path)
    assert not (tmp_path / NAME).exists()
    assert (tmp_path / f"{NAME}.part").stat().st_size == 1_500_000
    server.cut = None
    listener = Listener()
    assert download(server.url, tmp_path, listener)[0].read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=1500000-"]
    assert listener.steps[0] == 1_500_000
    assert listener.stages[0][1] == sum(listener.steps) == len(CONTENT)


@pytest.mark.parametrize("heeds", [True, False])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"ETag": '"one"'}, {"ETag": '"two"'}),
        ({"ETag": 'W/"one"', "Last-Modified": "Mon, 1 May 2017 10:00:00 GMT"}, {"Last-Modified": "today"}),
    ],
)
def test_parts_of_two_versions_are_never_one_file(
    server: Server, tmp_path: Path, before: dict[str, str], after: dict[str, str], heeds: bool
) -> None:
    """The name has no checksum that would tell."""
    server.cut, server.versions, server.heeds_if_range = 1_500_000, before, heeds
    for _ in range(2):  # broken off twice, the second time within a resumed answer of no bytes
        with pytest.raises(ModelError, match="broke off after 1500000 bytes"):
            download(server.url, tmp_path, name="net.pth")
        server.cut = 0
    server.cut, server.content, server.versions = None, CONTENT[::-1], after
    path, _ = download(server.url, tmp_path, name="net.pth")
    assert path.read_bytes() == CONTENT[::-1]
    assert {found.name for found in tmp_path.iterdir()} == {"net.pth", "net.pth.lock"}


def test_a_part_of_the_same_version_goes_on(server: Server, tmp_path: Path) -> None:
    server.cut, server.versions = 1_500_000, {"ETag": '"one"'}
    with pytest.raises(ModelError, match="broke off"):
        download(server.url, tmp_path, name="net.pth")
    server.cut = None
    assert download(server.url, tmp_path, name="net.pth")[0].read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=1500000-"]


def test_a_server_that_can_not_resume_starts_anew(server: Server, tmp_path: Path) -> None:
    (tmp_path / f"{NAME}.part").write_bytes(b"x" * 1000)
    server.resumable = False
    assert download(server.url, tmp_path)[0].read_bytes() == CONTENT


@pytest.mark.parametrize("surplus", [0, 7])
def test_a_part_as_long_as_the_file_starts_anew(server: Server, tmp_path: Path, surplus: int) -> None:
    (tmp_path / f"{NAME}.part").write_bytes(CONTENT + b"x" * surplus)
    assert download(server.url, tmp_path)[0].read_bytes() == CONTENT
    assert server.ranges == [f"bytes={len(CONTENT) + surplus}-", None]


def test_a_file_with_another_checksum_is_refused(server: Server, tmp_path: Path) -> None:
    server.content = b"<html>moved</html>"
    digits = hashlib.sha256(server.content).hexdigest()[:8]
    with pytest.raises(ModelError, match=rf"SHA-256 begins with {digits}, not {DIGEST[:8]}.*--weights FILE"):
        download(server.url, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix != ".lock") == []


def test_a_wrong_part_is_dropped_so_that_the_next_run_works(server: Server, tmp_path: Path) -> None:
    (tmp_path / f"{NAME}.part").write_bytes(b"x" * 1000)
    with pytest.raises(ModelError, match="SHA-256"):
        download(server.url, tmp_path)
    assert download(server.url, tmp_path)[1] == DIGEST


def test_a_damaged_file_in_the_folder_is_fetched_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(CONTENT[:-1])
    listener = Listener()
    assert download(server.url, tmp_path, listener)[0].read_bytes() == CONTENT
    assert len(listener.notes) == 1
    assert str(tmp_path / NAME) in listener.notes[0]


def test_an_answer_of_unknown_length_is_held_against_its_checksum(server: Server, tmp_path: Path) -> None:
    server.length = False
    assert download(server.url, tmp_path)[0].read_bytes() == CONTENT


def test_a_file_that_is_gone(server: Server, tmp_path: Path) -> None:
    url = server.url.replace("models", "elsewhere")
    with pytest.raises(ModelError, match=rf"{url} can't be fetched \(404 Not Found\).*--weights FILE"):
        download(url, tmp_path)


def test_a_server_that_is_gone(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/{NAME}"
    with pytest.raises(ModelError, match=rf"{url} can't be fetched \(.*refused.*--weights FILE"):
        download(url, tmp_path)


def test_a_folder_that_can_not_be_written(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match=r"can't be kept .*--cache"):
        download(server.url, tmp_path / "file" / "weights")


def test_other_servers_are_tried_in_turn(server: Server, tmp_path: Path) -> None:
    gone, listener = server.url.replace("models", "elsewhere"), Listener()
    path, digest = download([gone, server.url], tmp_path, listener, name="net.pth")
    assert (path, digest, path.read_bytes()) == (tmp_path / "net.pth", DIGEST, CONTENT)
    assert listener.notes == [f"{gone} failed (404 Not Found); another server is tried."]
    assert listener.stages == [("download net.pth", len(CONTENT), "bytes")]


def test_each_server_goes_on_with_what_it_has_sent(server: Server, tmp_path: Path) -> None:
    """Without a checksum in the name, parts of two files must not become one."""
    urls = [server.url.replace("models", "elsewhere"), server.url]
    server.cut = 1_500_000
    with pytest.raises(ModelError, match=rf"{urls[0]} \(404 Not Found\), {urls[1]} \(broke off after 1500000 bytes\)"):
        download(urls, tmp_path, name="net.pth")
    (tmp_path / "net.pth.part").write_bytes(b"of another file")
    server.cut = None
    assert download(urls, tmp_path, name="net.pth")[0].read_bytes() == CONTENT
    assert server.ranges == [None, None, "bytes=15-", "bytes=1500000-"]
    assert not list(tmp_path.glob("*.part"))


def test_a_file_that_no_server_has_names_all_of_them(server: Server, tmp_path: Path) -> None:
    urls = [server.url.replace("models", place) for place in ("here", "there")]
    with pytest.raises(ModelError) as error:
        download(urls, tmp_path, name="net.pth")
    assert all(f"{url} (404 Not Found)" in str(error.value) for url in urls)
    assert str(error.value).startswith("net.pth can't be fetched from ")
    assert f"put it into {tmp_path} as net.pth, or give it to `ndengine run` with --weights FILE." in str(error.value)


@pytest.mark.parametrize("page", [b"<!DOCTYPE html>\n<p>moved", b"\n  <html>moved</html>", b"<HEAD>"])
def test_a_web_page_is_no_file(server: Server, tmp_path: Path, page: bytes) -> None:
    server.content = page
    with pytest.raises(ModelError, match=r"can't be fetched \(it sends a web page\)"):
        download([server.url], tmp_path, name="net.caffemodel")
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]


def test_two_downloads_at_once_fetch_one_file(server: Server, tmp_path: Path) -> None:
    found: list[tuple[Path, str]] = []
    threads = [threading.Thread(target=lambda: found.append(download(server.url, tmp_path))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [(tmp_path / NAME, DIGEST)] * 4
    assert server.ranges == [None]


def test_checksums_in_names(tmp_path: Path) -> None:
    assert expected_digits("vgg16-397923af.pth") == "397923af"
    assert expected_digits("resnet50-11ad3fa6.pth") == "11ad3fa6"
    assert expected_digits("vit_h_14_swag-80465313.pth") == "80465313"
    assert expected_digits("my-net.pth") == ""
    assert is_intact("my-net.pth", DIGEST)
    assert is_intact(NAME, DIGEST)
    assert not is_intact(NAME, DIGEST[::-1])
    (tmp_path / "file").write_bytes(CONTENT)
    assert hash_file(tmp_path / "file") == DIGEST
