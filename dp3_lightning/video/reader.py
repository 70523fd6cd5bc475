"""Read exact frames from a video file, in order or at random."""

from __future__ import annotations

import operator
import os
import warnings
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

from dp3_lightning.structures import UInt8Array, Window
from dp3_lightning.video.color import ColorTags
from dp3_lightning.video.decode_run import DecodeRun
from dp3_lightning.video.errors import FrameUnavailableError
from dp3_lightning.video.frame_index import build_index


class VideoReader:
    """Frames of one video by index; frame ``i`` is the ``i``-th one that a player shows.

    The file is scanned at once (packets only, no decoding, where its time stamps allow that) and
    opened for decoding with the first frame asked for; it stays open until :meth:`close`, after
    which it opens again when needed. A pickled reader takes its index along and opens the file
    anew; after a fork too. Not for use by several threads at a time. Where the decoder reports
    damage, frames up to the next keyframe count as lost rather than being guessed.

    Args:
        path: video file.
        threads: decoder threads; 0 lets FFmpeg choose, 1 suits data-loader workers.

    Attributes:
        path: the file.

    Raises:
        FileNotFoundError: there is no such file.
        UnreadableVideoError: it holds no video that can be decoded.
    """

    def __init__(self, path: str | os.PathLike[str], *, threads: int = 0) -> None:
        self.path = Path(path)
        self._threads = threads
        self._index = build_index(self.path, threads)
        self._lost: set[int] = set()
        self._loss_reported = False
        self._run: DecodeRun | None = None

    def __repr__(self) -> str:
        return f"VideoReader({str(self.path)!r}: {len(self)} frames of {self.size})"

    def __len__(self) -> int:
        return len(self._index.pts)

    @property
    def time_base(self) -> Fraction:
        """Seconds per unit of :attr:`pts`."""
        return self._index.time_base

    @property
    def pts(self) -> list[int]:
        """Presentation time stamp of every frame, in units of :attr:`time_base`, increasing."""
        return list(self._index.pts)

    @property
    def times(self) -> list[Fraction]:
        """Presentation time of every frame in seconds."""
        return [pts * self._index.time_base for pts in self._index.pts]

    @property
    def average_rate(self) -> Fraction:
        """Frames per second over the whole file."""
        return self._index.average_rate

    @property
    def size(self) -> tuple[int, int]:
        """``(height, width)`` in pixels of the frames that this reader gives, after rotation."""
        height, width = self._index.coded_size
        return (width, height) if self._index.rotation % 180 else (height, width)

    @property
    def tags(self) -> ColorTags:
        """What the video says about its colours."""
        return self._index.tags

    @property
    def pixel_format(self) -> str:
        """FFmpeg's name of the pixel format."""
        return self._index.pixel_format

    @property
    def bit_depth(self) -> int:
        """Bits per sample; this reader gives 8 of them."""
        return self._index.bit_depth

    @property
    def hidden_alpha(self) -> bool:
        """Whether the video has transparency that cannot be read, as VP8 and VP9 in WebM."""
        return self._index.hidden_alpha

    @property
    def pixel_aspect(self) -> Fraction:
        """Width of a pixel by its height, after rotation; mostly 1."""
        aspect = self._index.pixel_aspect
        return 1 / aspect if self._index.rotation % 180 else aspect

    @property
    def fields(self) -> str:
        """``top`` or ``bottom``, whichever field is shown first; empty: not interlaced."""
        return self._index.fields

    @property
    def missing_tail(self) -> int:
        """Frames that the header announces and the file, being cut off, does not hold."""
        return self._index.missing_tail

    @property
    def shifts(self) -> tuple[Fraction, ...]:
        """Seconds added to the time stamps of each part where they start again; (0,) else."""
        return self._index.shifts

    @property
    def key_frames(self) -> list[int]:
        """Frames at which decoding may start, as far as the container tells; increasing."""
        return sorted({self._index.key_position(n) for n in range(len(self._index.key_pts))})

    def stands_alone(self, index: int) -> bool:
        """Whether frame ``index``, the last one asked for, is coded without others.

        So are all pictures where nothing is known, and those of GIF, whose decoder notices damage.
        """
        run = self._run
        known = run is not None and run.position == index and not self._index.counted
        return not known or self.path.suffix.lower() == ".gif" or run.stands_alone  # type: ignore[union-attr]

    def __getitem__(self, index: int) -> UInt8Array:
        return self.frame(index)

    def frame(self, index: int, window: Window | None = None) -> UInt8Array:
        """Decode one frame.

        Args:
            index: 0 to ``len(self) - 1``, or negative to count from the end.
            window: ``(x0, y0, x1, y1)`` in pixels of the frame: return only that part, the same
                pixels as cut from the whole, but faster.

        Returns:
            ``(H, W, 3)`` uint8 RGB, owned by the caller.

        Raises:
            IndexError: there is no such frame.
            ValueError: the window is empty or leaves the frame.
            FrameUnavailableError: it exists but cannot be decoded.
        """
        position = operator.index(index)
        if not -len(self) <= position < len(self):
            raise IndexError(
                f"Frame {position} of {str(self.path)!r} asked for, which has {len(self)} frames."
            )
        position %= len(self)
        height, width = self.size
        if window is not None and not (
            0 <= window[0] < window[2] <= width and 0 <= window[1] < window[3] <= height
        ):
            raise ValueError(
                f"Expected `window` (x0, y0, x1, y1) in a frame of {width} x {height}, "
                f"got {window}."
            )
        frame = None if position in self._lost else self._decode(position, window)
        if frame is None:
            raise FrameUnavailableError(position, self.path)
        return frame

    def frames(self, start: int, stop: int, window: Window | None = None) -> Iterator[UInt8Array]:
        """Consecutive frames ``start`` to ``stop - 1``.

        Args:
            start: first index, not negative.
            stop: index after the last one, at most ``len(self)``.
            window: part to return, as in :meth:`frame`.

        Returns:
            Iterator over ``(H, W, 3)`` uint8 RGB; raises ``FrameUnavailableError`` at damage.

        Raises:
            IndexError: the range leaves the video.
        """
        if not 0 <= start <= stop <= len(self):
            raise IndexError(
                f"Frames {start} to {stop} of {str(self.path)!r} asked for, "
                f"which has {len(self)} frames: choose 0 <= start <= stop <= {len(self)}."
            )
        return (self.frame(index, window) for index in range(start, stop))

    def __iter__(self) -> Iterator[UInt8Array]:
        return (frame for _, frame in self.iter_indexed())

    def iter_indexed(self) -> Iterator[tuple[int, UInt8Array]]:
        """All frames that can be had, with their indices; warns once per reader about lost ones.

        Yields:
            Index and ``(H, W, 3)`` uint8 RGB frame, in order.
        """
        for index in range(len(self)):
            try:
                frame = self.frame(index)
            except FrameUnavailableError:
                continue
            yield index, frame
        self.report_losses()

    def report_losses(self) -> None:
        """Warn, once per reader, about frames that were asked for and cannot be decoded."""
        tail = self._index.missing_tail
        if (self._lost or tail) and not self._loss_reported:
            self._loss_reported = True
            warnings.warn(
                f"{str(self.path)!r} is damaged: {len(self._lost) + tail} of {len(self) + tail} "
                "frames cannot be decoded and are left out. Repair or replace the file.",
                RuntimeWarning,
                stacklevel=3,
            )

    def _decode(self, position: int, window: Window | None) -> UInt8Array | None:
        """Decode a frame by going on, else from its entry point, else from the one before."""
        run = self._open_run()
        key = self._index.key_of(position)
        tried: int | None = None
        if run.can_reach(position):
            frame = run.advance(position, window)
            if frame is not None:
                return frame
            tried = run.key
        for start in dict.fromkeys((key, max(key - 1, -1))):
            if start == tried:
                continue
            run.restart(start)
            frame = run.advance(position, window)
            if frame is not None:
                return frame
        # What the last run passed by before the next entry point is lost as well.
        stop = self._index.key_position(key + 1)
        reached = stop if run.position is None else min(run.position, stop)
        self._lost.update(range(position, max(reached, position + 1)))
        return None

    def _open_run(self) -> DecodeRun:
        if self._run is not None and self._run.inherited:
            self._run.close()
            self._run = None
        if self._run is None:
            self._run = DecodeRun(self.path, self._index, self._threads)
        return self._run

    def close(self) -> None:
        """Close the file; asking for a frame opens it again."""
        if self._run is not None:
            self._run.close()
        self._run = None

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_run": None}
