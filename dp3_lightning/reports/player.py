"""Embed small copies of videos in a page, side by side, with one set of controls."""

from __future__ import annotations

import base64
import html
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2

from dp3_lightning.structures import UInt8Array
from dp3_lightning.video import VideoReader, write_video

_SECONDS = 5
_HEIGHT = 240

_SCRIPT = """
for (const box of document.querySelectorAll(".player")) {
  const videos = [...box.querySelectorAll("video")];
  const [play, bar] = box.querySelectorAll("button,input");
  const all = f => videos.forEach(f), first = videos[0];
  play.onclick = () => {
    const go = first.paused;
    all(v => { v.currentTime = first.currentTime; go ? v.play() : v.pause(); });
    play.textContent = go ? "Pause" : "Play";
  };
  bar.oninput = () => all(v => { v.pause(); v.currentTime = bar.value / 1000 * (v.duration || 0);
    play.textContent = "Play"; });
  first.ontimeupdate = () => {
    if (!first.paused) bar.value = 1000 * first.currentTime / first.duration;
  };
  first.onended = () => { play.textContent = "Play"; };
}
"""


def player(videos: Sequence[tuple[str, Path]]) -> str:
    """Return videos side by side as HTML, the first seconds of each, shrunk.

    Args:
        videos: titles and files. All of them are put into the page, originals too.
    """
    cells = "".join(
        f'<figure><video muted playsinline preload="auto" src="{_embedded(path)}"></video>'
        f"<figcaption>{html.escape(title)}</figcaption></figure>"
        for title, path in videos
    )
    return (
        f'<div class="player"><div class="beside">{cells}</div>'
        '<p><button type="button">Play</button> '
        '<input type="range" min="0" max="1000" value="0" aria-label="position"></p></div>'
    )


def player_script() -> str:
    """Return the script that a page with players needs once, at its end."""
    return f"<script>{_SCRIPT}</script>"


def _embedded(path: Path) -> str:
    with VideoReader(path) as reader, tempfile.TemporaryDirectory() as folder:
        rate = reader.average_rate
        count = max(1, min(len(reader), round(_SECONDS * float(rate))))
        # VP9, which every browser shows, free ones too.
        options = {"deadline": "realtime", "cpu-used": "8"}
        small = write_video(
            Path(folder) / "small.webm", _shrunk(reader, count), rate, codec="libvpx-vp9", crf=36,
            encoder_options=options,
        )  # fmt: skip
        return "data:video/webm;base64," + base64.b64encode(small.read_bytes()).decode()


def _shrunk(reader: VideoReader, count: int) -> Iterator[UInt8Array]:
    for index in range(count):
        frame = reader.frame(index)
        height = min(_HEIGHT, frame.shape[0])
        width = max(2, round(frame.shape[1] * height / frame.shape[0]))
        yield cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)
