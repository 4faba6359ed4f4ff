"""Pages in a real browser, where one is installed."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

import pytest

QUIET = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--hide-scrollbars"),
    *("--virtual-time-budget=3000", "--dump-dom"),
]


def open_page(path: Path, probe: str, width: int, folder: Path) -> dict[str, Any]:
    """What a probe, a script before ``</body>``, sees in a window of that many CSS pixels."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium is installed")
    probed = path.with_name("probed.html")
    probed.write_text(path.read_text("utf-8").replace("</body>", probe), encoding="utf-8")
    frame = folder / "frame.html"
    frame.write_text(
        "<script>onmessage = (e) => { document.title = e.data; }</script>"
        f"<iframe src='{probed.as_uri()}' width={width} height=800 style='border:0'></iframe>"
    )
    done = subprocess.run(
        [browser, *QUIET, f"--user-data-dir={folder / 'profile'}", frame.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    title = re.search("<title>(.*?)</title>", done.stdout)
    assert title, "the page's script failed"
    found: dict[str, Any] = json.loads(unescape(title[1]))
    return found
