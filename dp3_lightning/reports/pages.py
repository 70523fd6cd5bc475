"""Share style, frame and thumbnails between pages."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from dp3_lightning.structures import UInt8Array
from dp3_lightning.video import VIDEO_SUFFIXES, VideoReader

_THUMBNAILS = 8
_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:62rem;padding:0 1rem;
color:#1d2733;background:#fff}
h1{font-size:1.5rem;margin-bottom:.2rem}h2{font-size:1.1rem;margin-top:2rem}
.verdict{padding:.6rem 1rem;border-radius:.4rem;font-weight:600}
.safe{background:#e2f3ea;color:#17543a}.unsafe{background:#fbe3e1;color:#8c1d18}
.strip{display:grid;grid-template-columns:repeat(4,1fr);gap:.5rem}
figure{margin:0}figure img{width:100%;border-radius:.3rem;display:block}
figcaption{color:#5b6875;font-size:.8rem}
table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.25rem .6rem;
border-bottom:1px solid #e3e7eb;vertical-align:top}th{font-weight:600}
svg{width:100%;height:auto;background:#f5f7f9;border-radius:.3rem}
.key span{display:inline-block;margin-right:1.2rem}
.key i{display:inline-block;width:.8rem;height:.8rem;border-radius:.2rem;margin-right:.35rem;
vertical-align:-1px}
.beside{display:flex;gap:.5rem;flex-wrap:wrap}.beside figure{flex:1 1 14rem}
.beside video{width:100%;border-radius:.3rem;display:block}
.player input{width:60%;vertical-align:middle}
.plots{display:grid;grid-template-columns:repeat(auto-fill,minmax(20rem,1fr));gap:1rem}
.better{font-weight:600;color:#17543a}.worse{color:#8c1d18}
pre{background:#f5f7f9;padding:1rem;overflow:auto;font-size:.8rem;border-radius:.3rem}
code{overflow-wrap:anywhere}
"""


def page(title: str, body: str) -> str:
    """Return a whole page; ``title`` and ``body`` are HTML."""
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<link rel="icon" href="data:,"><title>{title}</title><style>{_STYLE}</style></head><body>
{body}
</body></html>
"""


def thumbnails(path: Path) -> str:
    """Return a strip of a few frames of a video, or of a picture, as HTML with the pixels in it."""
    return figures(_pictures(path), path.name)


def figures(pictures: Sequence[tuple[str, UInt8Array]], name: str = "") -> str:
    """Return a strip of pictures with captions, as HTML with the pixels in it.

    Args:
        pictures: caption, and ``(H, W, 3)`` uint8 RGB.
        name: described in place of an empty caption.
    """
    parts = "".join(
        f'<figure><img src="{_embedded(picture)}" alt="{html.escape(caption or name)}">'
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
        for caption, picture in pictures
    )
    return f'<div class="strip">{parts}</div>'


def _pictures(path: Path) -> list[tuple[str, UInt8Array]]:
    """Captions and pictures."""
    if path.suffix.lower() not in VIDEO_SUFFIXES:
        picture = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
        return [] if picture is None else [("", picture[..., ::-1])]
    with VideoReader(path) as reader:
        count = min(_THUMBNAILS, len(reader))
        wanted = np.unique(np.linspace(0, len(reader) - 1, count).astype(int)).tolist()
        times = reader.times
        return [(f"frame {i}, {float(times[i]):.2f} s", reader.frame(i)) for i in wanted]


def _embedded(frame: UInt8Array) -> str:
    width = 320
    height = max(1, round(frame.shape[0] * width / frame.shape[1]))
    small = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)
    _, data = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()
