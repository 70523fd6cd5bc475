"""Which frames a video file holds and where a decoder may start, found by reading packets.

Decoding is avoided where the container's time stamps can be trusted: only the first picture is
decoded, for its size and rotation. Raw streams and AVI files with reordered frames carry no usable
presentation times; for those every frame is decoded once and frames are counted instead.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import pairwise
from pathlib import Path

from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from dp3_lightning.video.color import ColorTags, tags_of
from dp3_lightning.video.decoding import decode_packet, decode_packets, intact_packets, open_video
from dp3_lightning.video.errors import UnreadableVideoError

_MOST_REORDERED = 16  # pictures that H.264 and HEVC may hold back
_MOST_DIP = 8  # usual steps; time stamps that fall back further start again
_DTS_SEEKERS = frozenset({"mpegts", "mpeg", "avi"})  # their demuxers search decoding times


@dataclass(frozen=True)
class FrameIndex:
    """Frames and entry points of one video stream.

    Attributes:
        pts: presentation time stamps in units of ``time_base``, strictly increasing.
        time_base: seconds per unit.
        average_rate: frames per second.
        key_pts: time stamps at which decoding may start, increasing; with those of packets that
            an edit list hides. Empty when frames must be counted from the start of the file.
        key_seek: for each entry of ``key_pts`` the time to hand to the demuxer.
        decode_order: for every frame the number of its packet in the order of decoding; the order
            of showing when frames are counted.
        counted: True when frame ``i`` is the ``i``-th one that the decoder gives, whatever its
            time stamp says.
        coded_size: ``(height, width)`` in pixels before rotation.
        rotation: counter-clockwise rotation to apply, a multiple of 90 degrees.
        shifts: seconds that are added to the time stamps of each part of a file whose time stamps
            start again, because recordings were joined end to end; one entry for other files.
        missing_tail: frames that the header announces beyond the end of the file.
        tags: what the first frame says about its colours.
        pixel_format: FFmpeg's name of the first frame's format.
        bit_depth: bits per sample.
        pixel_aspect: width of a coded pixel by its height, before rotation.
        fields: ``top`` or ``bottom``, whichever is shown first, of interlaced video; else empty.
        hidden_alpha: transparency in a stream of its own, which the decoder does not read.
    """

    pts: list[int]
    time_base: Fraction
    average_rate: Fraction
    key_pts: list[int]
    key_seek: list[int]
    decode_order: list[int]
    counted: bool
    coded_size: tuple[int, int]
    rotation: int
    shifts: tuple[Fraction, ...]
    missing_tail: int
    tags: ColorTags
    pixel_format: str
    bit_depth: int
    pixel_aspect: Fraction
    fields: str
    hidden_alpha: bool

    def key_of(self, index: int) -> int:
        """Number of the last entry point not after frame ``index``; -1 is the start of the file.

        Comparing presentation times also serves open GOPs: a frame shown before a keyframe but
        stored after it needs the entry point before.
        """
        return bisect_right(self.key_pts, self.pts[index]) - 1

    def key_position(self, key: int) -> int:
        """Index of the first frame shown at or after entry point ``key``."""
        if key < 0:
            return 0
        if key >= len(self.key_pts):
            return len(self.pts)
        return bisect_left(self.pts, self.key_pts[key])

    @cached_property
    def look_ahead(self) -> int:
        """Most frames that are shown before a frame which they may be built on."""
        if self.counted:
            return _MOST_REORDERED
        shown_in_order = sorted(range(len(self.pts)), key=self.decode_order.__getitem__)
        return max(position - number for number, position in enumerate(shown_in_order))

    def find(self, pts: int | None) -> int | None:
        """Index of the frame with exactly this time stamp, or None."""
        if pts is None:
            return None
        position = bisect_left(self.pts, pts)
        return position if position < len(self.pts) and self.pts[position] == pts else None


@dataclass
class _Scan:
    """What one pass over the packets found."""

    pts: list[int | None]
    keys: list[tuple[int, int]]
    hidden: int
    first: VideoFrame
    restarts: bool


def _scan_packets(path: Path, container: InputContainer, stream: VideoStream) -> _Scan:
    by_dts = bool(_DTS_SEEKERS & set(container.format.name.split(",")))
    pts: list[int | None] = []
    keys: list[tuple[int, int]] = []
    hidden = 0
    first: VideoFrame | None = None
    last_dts: int | None = None
    restarts = False
    for packet in intact_packets(container.demux(stream)):
        if first is None:
            first = next(iter(decode_packet(packet)), None)
        if packet.size == 0:
            continue
        if packet.dts is not None:
            restarts |= last_dts is not None and packet.dts < last_dts
            last_dts = packet.dts
        if packet.is_keyframe and packet.pts is not None:
            seek = packet.dts if by_dts and packet.dts is not None else packet.pts
            keys.append((packet.pts, seek))
        if packet.is_discard:
            hidden += 1  # an edit list cuts this frame out; it may still be an entry point
        else:
            pts.append(packet.pts)
    if first is None:
        reason = "none of its frames can be decoded" if pts else "it holds no frames"
        raise UnreadableVideoError(path, reason)
    return _Scan(pts, sorted(keys), hidden, first, restarts)


def _fields(stream: VideoStream, first: VideoFrame) -> str:
    order = int(stream.codec_context.field_order)  # FFmpeg's AVFieldOrder
    if order < 2 and not first.interlaced_frame:
        return ""
    return "bottom" if order in (3, 4) else "top"


def _rate(stated: Fraction, pts: list[int], time_base: Fraction) -> Fraction:
    """Frames per second as stated, unless the time stamps say otherwise."""
    if len(pts) < 2 or pts[0] == pts[-1]:
        return stated or Fraction(25)  # FFmpeg's own default
    span = (pts[-1] - pts[0]) * time_base
    # Two frames of tolerance: containers round, and may count the last frame's duration.
    fits = stated and abs((len(pts) - 1) / stated - span) <= max(2 / stated, span / 100)
    return stated if fits else (len(pts) - 1) / span


def build_index(path: Path, threads: int = 0) -> FrameIndex:
    """Find all frames of a video without decoding them, where its time stamps allow that.

    Args:
        path: the file.
        threads: decoder threads; 0 lets FFmpeg choose.

    Returns:
        The index; it holds at least one frame.

    Raises:
        FileNotFoundError: there is no such file.
        UnreadableVideoError: no frame can be had from it.
    """
    container, stream = open_video(path, threads=1)  # for the first frame only
    with container:
        scan = _scan_packets(path, container, stream)
        names = container.format.name.split(",")
        time_base = Fraction(stream.time_base or Fraction(1, 1000))
        pts = sorted(p for p in scan.pts if p is not None)
        stated = Fraction(stream.average_rate or stream.guessed_rate or 0)
        rate = _rate(stated, pts, time_base)
        # In AVI only decoding times are stored; what FFmpeg makes of them is wrong for B-frames.
        reordered = "avi" in names and stream.codec_context.has_b_frames
        shape = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio
        fields = _fields(stream, scan.first)
        hidden_alpha = stream.metadata.get("alpha_mode", "0") not in ("", "0")
        announced = stream.frames if "mp4" in names else 0
    counted, missing_tail = False, 0
    shifts: tuple[Fraction, ...] = (Fraction(0),)
    if scan.restarts:
        pts, shifts = _continued(path, threads, time_base)
        counted, rate = True, _rate(stated, pts, time_base)
    elif len(set(pts)) == len(scan.pts) and not reordered:
        missing_tail = max(0, announced - len(pts) - scan.hidden)
    else:
        pts, counted, time_base = _count_frames(path, threads, set(pts), time_base, rate)
    if not pts:
        raise UnreadableVideoError(path, "it holds no frames")
    keys = [] if counted else scan.keys
    numbers = {stamp: number for number, stamp in enumerate(scan.pts)}
    return FrameIndex(
        pts=pts,
        time_base=time_base,
        average_rate=rate,
        key_pts=[key[0] for key in keys],
        key_seek=[key[1] for key in keys],
        decode_order=[0 if counted else numbers[stamp] for stamp in pts],
        counted=counted,
        coded_size=(scan.first.height, scan.first.width),
        rotation=round(scan.first.rotation / 90) * 90 % 360,
        shifts=shifts,
        missing_tail=missing_tail,
        tags=tags_of(scan.first),
        pixel_format=scan.first.format.name,
        bit_depth=max(c.bits for c in scan.first.format.components),
        pixel_aspect=Fraction(shape or 1),
        fields=fields,
        hidden_alpha=hidden_alpha,
    )


def _continued(
    path: Path, threads: int, time_base: Fraction
) -> tuple[list[int], tuple[Fraction, ...]]:
    """Decode everything once, and let every part go on where the part before ends.

    Returns:
        Time stamps of all frames, and the seconds that each part was shifted by.
    """
    container, stream = open_video(path, threads)
    with container:
        found = [frame.pts for frame in decode_packets(stream, container.demux(stream))]
    steps = sorted(b - a for a, b in pairwise(found) if a is not None and b is not None and b > a)
    usual = steps[len(steps) // 2] if steps else 1
    pts: list[int] = []
    shift, shifts, before = 0, [Fraction(0)], None
    for stamp in found:
        last = pts[-1] if pts else None
        if stamp is None:
            pts.append(0 if last is None else last + usual)
            continue
        if before is not None and last is not None and stamp < before - _MOST_DIP * usual:
            shift = last + usual - stamp
            shifts.append(shift * time_base)
        before = stamp
        follows = last is None or stamp + shift > last
        pts.append(stamp + shift if follows or last is None else last + usual)
    return pts, tuple(shifts)


def _count_frames(
    path: Path, threads: int, packet_pts: set[int], time_base: Fraction, rate: Fraction
) -> tuple[list[int], bool, Fraction]:
    """Decode everything once; returns time stamps, whether frames must be counted, time base."""
    container, stream = open_video(path, threads)
    with container:
        found = [frame.pts for frame in decode_packets(stream, container.demux(stream))]
    pts = [p for p in found if p is not None]
    if len(pts) == len(found) and all(a < b for a, b in pairwise(pts)):
        # Decoder and packets agree, so frames can be sought by time after all.
        return pts, not packet_pts.issuperset(pts), time_base
    return list(range(len(found))), True, 1 / rate
