"""Downloads from a server in this process that can break off and resume."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from dp3_lightning.assets.downloads import DownloadError, download, partial_path

CONTENT = bytes(range(256)) * 4000


class Handler(BaseHTTPRequestHandler):
    break_after: int | None = None
    ranges: bool = True
    asked: list[str | None]

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        type(self).asked.append(asked)
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and self.ranges else 0
        if self.path == "/missing":
            self.send_error(404)
            return
        if start >= len(CONTENT):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        self.wfile.write(CONTENT[start:][: self.break_after])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    Handler.break_after, Handler.ranges, Handler.asked = None, True, []
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def fetch(url: str, folder: Path) -> bytes:
    download(url, folder / "out.bin", partial_path(url, folder))
    return (folder / "out.bin").read_bytes()


def test_interrupted_download_goes_on(server: str, tmp_path: Path) -> None:
    Handler.break_after = 300_000
    with pytest.raises(DownloadError, match="broke after 300000 of 1024000"):
        fetch(f"{server}/file", tmp_path)
    assert not (tmp_path / "out.bin").exists()
    Handler.break_after = None
    assert fetch(f"{server}/file", tmp_path) == CONTENT
    assert Handler.asked == [None, "bytes=300000-"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.bin"]


def test_server_without_ranges_sends_everything_again(server: str, tmp_path: Path) -> None:
    url = f"{server}/file"
    partial_path(url, tmp_path).write_bytes(b"x" * 5000)
    Handler.ranges = False
    assert fetch(url, tmp_path) == CONTENT
    assert Handler.asked == ["bytes=5000-"]


def test_partial_file_longer_than_the_source_starts_again(server: str, tmp_path: Path) -> None:
    url = f"{server}/file"
    partial_path(url, tmp_path).write_bytes(b"x" * (len(CONTENT) + 1))
    assert fetch(url, tmp_path) == CONTENT


def test_missing_file_and_dead_server(server: str, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="404"):
        fetch(f"{server}/missing", tmp_path)
    with pytest.raises(DownloadError):
        fetch("http://127.0.0.1:9/file", tmp_path)


def test_two_at_once_both_finish(server: str, tmp_path: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    url = f"{server}/file"
    with partial_path(url, tmp_path).open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        other.write(b"half of")
        other.flush()
        assert fetch(url, tmp_path) == CONTENT
