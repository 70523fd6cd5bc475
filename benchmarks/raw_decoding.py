"""The baseline of data_throughput.py: frames by index with PyAV and nothing else."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import av
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from dp3_lightning.structures import UInt8Array
from dp3_lightning.video.color import picture_to_rgb

# As in the reader under test, so that both seek at the same places: going on over a keyframe this
# far ahead is cheaper than a seek.
SLACK = 8


class RawDecoder:
    """Decode runs of frames with PyAV; the file stays open.

    Nothing is checked, repaired, cropped or copied. Frames are known by their time stamps, which
    must be complete, as they are in any MP4 file.

    Args:
        path: the video.
        accurate: convert colours as the package's reader does, not with PyAV's plain
            ``to_ndarray(format="rgb24")``.
        threads: decoder threads; 0 lets FFmpeg choose.
    """

    def __init__(self, path: Path, accurate: bool = False, threads: int = 1) -> None:
        self._container = av.open(str(path))
        self._stream = self._container.streams.video[0]
        packets = [p for p in self._container.demux(self._stream) if p.pts is not None]
        self._pts = sorted(int(p.pts) for p in packets if p.pts is not None)
        self.keys = sorted(
            self._pts.index(int(p.pts)) for p in packets if p.is_keyframe and p.pts is not None
        )
        self._container.close()
        self._container = av.open(str(path))
        self._stream = self._container.streams.video[0]
        self._stream.thread_type = "AUTO"
        self._stream.thread_count = threads
        self._accurate, self._reformatter = accurate, VideoReformatter()
        self._frames: Iterator[VideoFrame] = self._container.decode(self._stream)
        self._next = 0

    def clip(self, start: int, length: int) -> list[UInt8Array]:
        """Frames ``start`` to ``start + length - 1``, ``(H, W, 3)`` uint8 RGB."""
        key = self.keys[bisect_right(self.keys, start) - 1]
        if not self._next <= start or key > self._next - 1 + SLACK:
            self._container.seek(self._pts[key], stream=self._stream)
            self._frames = self._container.decode(self._stream)
        pictures: list[UInt8Array] = []
        for frame in self._frames:
            if frame.pts is not None and frame.pts >= self._pts[start]:
                pictures.append(self._to_rgb(frame))
                if len(pictures) == length:
                    break
        self._next = start + length
        return pictures

    def _to_rgb(self, frame: VideoFrame) -> UInt8Array:
        if self._accurate:
            return picture_to_rgb(self._reformatter, frame, (frame.height, frame.width), 0)
        return cast(UInt8Array, frame.to_ndarray(format="rgb24"))

    def close(self) -> None:
        """Close the file."""
        self._container.close()
