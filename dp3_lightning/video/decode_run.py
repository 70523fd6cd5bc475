"""One open file and its decoder, which knows the index of every frame that comes out."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from weakref import WeakSet

import av
from av.packet import Packet
from av.video.frame import PictureType, VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from dp3_lightning.structures import UInt8Array, Window
from dp3_lightning.video.color import picture_to_rgb
from dp3_lightning.video.decoding import intact_packets, open_video
from dp3_lightning.video.frame_index import FrameIndex
from dp3_lightning.video.trust import intact_frames

# Going on over a keyframe costs this many frames at most; a seek empties the decoder's pipeline,
# which costs about as much.
_SLACK = 8

# A decoder inherited over a fork has no threads in the child, so freeing it would wait for them for
# ever: the child keeps those that were open until it ends.
_OPEN: WeakSet[DecodeRun] = WeakSet()
_INHERITED: list[DecodeRun] = []


def _keep_inherited() -> None:
    _INHERITED.extend(_OPEN)
    # PyAV's containers and streams hold each other: what the parent dropped and had not collected,
    # encoders included, must not be collected here either.
    gc.freeze()


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_keep_inherited)


class DecodeRun:
    """Frames with their indices, from one entry point forwards.

    Args:
        path: the video.
        index: its index.
        threads: decoder threads; 0 lets FFmpeg choose.

    Attributes:
        key: entry point that this run started at; -1 is the start of the file.
        position: index of the frame that the decoder stands at; -1 before the first frame, None
            after the last.
    """

    def __init__(self, path: Path, index: FrameIndex, threads: int) -> None:
        self._path = path
        self._index = index
        self._threads = threads
        self._pid = os.getpid()
        self._frame: VideoFrame | None = None
        self._reformatter = VideoReformatter()
        self.position: int | None = -1
        _OPEN.add(self)
        self._open()

    def _open(self) -> None:
        """Start at the beginning of the file."""
        self._container, self._stream = open_video(self._path, self._threads)
        packets = self._container.demux(self._stream)
        self._frames = intact_frames(self._index, self._stream, packets)
        self.key = -1

    def close(self) -> None:
        """Close the file; in a forked child nothing happens."""
        if not self.inherited:
            self.position, self._frame = None, None
            _OPEN.discard(self)
            self._container.close()

    @property
    def inherited(self) -> bool:
        """Whether another process opened this, so that it must not be used here."""
        return self._pid != os.getpid()

    def can_reach(self, target: int) -> bool:
        """Whether going on from here to frame ``target`` is possible and cheaper than a seek."""
        if self.position is None or self.position > target:
            return False
        return self._index.key_position(self._index.key_of(target)) <= self.position + _SLACK

    def advance(self, target: int, window: Window | None = None) -> UInt8Array | None:
        """Decode up to frame ``target``.

        Args:
            target: index of the frame.
            window: part to return, as in :meth:`VideoReader.frame`.

        Returns:
            ``(H, W, 3)`` uint8 RGB, or None when the decoder passes it by or ends before it.
        """
        while self.position is None or self.position < target:
            item = next(self._frames, None)
            if item is None:
                self.position, self._frame = None, None
                return None
            self.position, self._frame = item
        if self._frame is None or self.position != target:
            return None
        size, rotation = self._index.coded_size, self._index.rotation
        return picture_to_rgb(self._reformatter, self._frame, size, rotation, window)

    @property
    def stands_alone(self) -> bool:
        """Whether the frame at :attr:`position` is coded without others."""
        frame = self._frame
        return frame is not None and (frame.key_frame or frame.pict_type == PictureType.I)

    def restart(self, key: int) -> None:
        """Go to entry point ``key``, or to an earlier one where the container cannot find it."""
        step = 1
        self.position, self._frame = -1, None
        while key >= 0:
            packets = self._seek(key)
            if packets is not None:
                self.key = key
                self._frames = intact_frames(self._index, self._stream, packets)
                return
            key -= step
            step *= 2
        self._container.close()
        self._open()

    def _seek(self, key: int) -> Iterator[Packet[VideoStream]] | None:
        """Packets from a keyframe not after entry point ``key`` on; None when it came out late."""
        try:
            self._container.seek(self._index.key_seek[key], stream=self._stream)
        except av.FFmpegError:
            return None
        packets = intact_packets(self._container.demux(self._stream))
        for packet in packets:
            if packet.size and packet.is_keyframe and packet.pts is not None:
                landed_early = packet.pts <= self._index.key_pts[key]
                return chain([packet], packets) if landed_early else None
        return None
