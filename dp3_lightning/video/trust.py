"""Tell intact pictures from those that damage reaches: nothing is shown that builds on it.

A decoder conceals what it cannot read and goes on: parts of a picture then are of another time, or
noise, in which no detector finds the face that people still see. Such pictures count as lost, from
the damaged one to the next intact key frame. VP8, VP9 and parts of HEVC carry no sign of damage:
what the decoder does not notice stays.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain, pairwise

import av
from av.packet import Packet
from av.video.frame import PictureType, VideoFrame
from av.video.stream import VideoStream

from dp3_lightning.video.decoding import flush, intact_packets
from dp3_lightning.video.frame_index import FrameIndex

_AHEAD = 3  # packets between a mark and the place in the file that it is about

Numbered = tuple[int, VideoFrame]


def intact_frames(
    index: FrameIndex, stream: VideoStream, packets: Iterator[Packet[VideoStream]]
) -> Iterator[Numbered]:
    """Frames that do not build on damage, with their indices, in the order of showing.

    Functions, not methods of a run: a generator that holds its run would delay freeing the decoder
    until the garbage collector comes by, which may be in a forked child.

    Args:
        index: of the whole file; frames that it does not know are passed over.
        stream: stream of the open file.
        packets: its packets from an entry point on; from the start when frames are counted.
    """
    kept = _counted(stream, packets) if index.counted else _indexed(index, stream, packets)
    waiting: deque[tuple[int, int, VideoFrame]] = deque()
    for position, order, frame, spoilt in kept:
        if spoilt is not None:
            # Shown before the damaged picture, but decoded after it and perhaps built on it.
            waiting = deque(item for item in waiting if item[1] < spoilt)
        if frame is not None:
            waiting.append((position, order, frame))
        while waiting and waiting[0][0] < position - index.look_ahead:
            first = waiting.popleft()
            yield first[0], first[2]
    yield from ((position, frame) for position, _, frame in waiting)


# Index, number in the order of decoding, frame or None, and from which number on pictures that have
# come out already are spoilt.
_Judged = tuple[int, int, VideoFrame | None, int | None]


@dataclass
class _Trust:
    """Which pictures may be shown, by their numbers in the order of decoding.

    Attributes:
        bad_from: pictures from this number on are not trusted; None: all are.
        good_after: a key frame after this number is trusted, and what follows it.
        damaged: numbers of damaged packets.
        keys: numbers of packets that hold key frames; None: not known.
    """

    bad_from: int | None = None
    good_after: int = -1
    damaged: set[int] = field(default_factory=set)
    keys: set[int] | None = None

    def spoil(self, bad_from: int, good_after: int) -> None:
        """Distrust pictures."""
        self.bad_from = bad_from if self.bad_from is None else min(bad_from, self.bad_from)
        self.good_after = max(good_after, self.good_after)

    def note_packet(self, packet: Packet[VideoStream], order: int) -> None:
        """Take in what a packet says of itself."""
        if packet.is_keyframe and self.keys is not None:
            self.keys.add(order)
        if packet.is_corrupt:
            self.damaged.add(order)
            self.spoil(order, order)

    def judged(self, order: int, frame: VideoFrame) -> tuple[int, VideoFrame | None, int | None]:
        """Number, frame or None, and from which number on earlier pictures are spoilt."""
        if frame.is_corrupt:
            self.damaged.add(order)
            self.spoil(order, order)
            return order, None, order
        return order, frame if self.accepts(order, frame) else None, None

    def accepts(self, order: int, frame: VideoFrame) -> bool:
        """Whether a picture without a mark of damage may be shown."""
        if self.bad_from is None or order < self.bad_from:
            return True
        if order in self.damaged or not _stands_alone(frame):
            return False
        # After damage, AV1's decoder shows an old key frame in place of another picture.
        if self.keys is not None and order not in self.keys:
            return False
        if order > self.good_after:
            self.bad_from = None
        return True


def _stands_alone(frame: VideoFrame) -> bool:
    """Whether nothing before is needed; points of a gradual refresh are not such key frames."""
    return bool(frame.key_frame) and frame.pict_type not in (PictureType.P, PictureType.B)


def _indexed(
    index: FrameIndex, stream: VideoStream, packets: Iterator[Packet[VideoStream]]
) -> Iterator[_Judged]:
    trust = _Trust(keys=set())
    last = order = -1
    for packet in _with_flush(packets):
        if packet is not None and packet.size:
            place = index.find(packet.pts)
            starting = order < 0
            order = max(order, 0) if place is None else index.decode_order[place]
            trust.note_packet(packet, order)
            if starting and index.key_pts and not packet.is_keyframe:
                trust.spoil(-1, -1)  # the stream starts amid pictures that it does not hold
        frames = _decoded(stream, packet)
        if frames is None:
            # With several threads the complaint comes late: only key frames are certain.
            trust.spoil(-1, order)
        for frame in frames or ():
            position = index.find(frame.pts)
            if position is None or position <= last:
                continue
            last = position
            yield position, *trust.judged(index.decode_order[position], frame)
        if packet is None or packet.size == 0:
            return


def _counted(stream: VideoStream, packets: Iterator[Packet[VideoStream]]) -> Iterator[_Judged]:
    """The same where neither packets nor pictures can be told by time.

    Damage may reach pictures that came out before, back to the last key frame. The decoder holds
    back some, so that a key frame counts when it comes out as many after the damage.
    """
    trust = _Trust()
    number, key = -1, -1
    held_back = _held_back(stream)
    for packet, soon in _with_times_ahead(_with_flush(packets)):
        if packet is not None and packet.is_corrupt and not _starts_again(soon):
            trust.spoil(-1, number + 1 + held_back)
        frames = _decoded(stream, packet)
        if frames is None:
            trust.spoil(-1, number + held_back)
            continue
        for frame in frames:
            number += 1
            if frame.is_corrupt:
                trust.spoil(-1, number + held_back)
                yield number, number, None, key + 1
            else:
                good = trust.bad_from is None or (
                    number > trust.good_after and trust.accepts(number, frame)
                )
                key = number if good and _stands_alone(frame) else key
                yield number, number, frame if good else None, None
        if packet is None or packet.size == 0:
            return


def _with_times_ahead(
    packets: Iterator[Packet[VideoStream] | None],
) -> Iterator[tuple[Packet[VideoStream] | None, list[int]]]:
    """Packets, each with the decoding times of itself and the next ones."""
    waiting: deque[Packet[VideoStream] | None] = deque()
    for packet in chain(packets, [None] * _AHEAD):
        waiting.append(packet)
        if len(waiting) > _AHEAD:
            yield waiting[0], [p.dts for p in waiting if p is not None and p.dts is not None]
            waiting.popleft()


def _starts_again(times: list[int]) -> bool:
    """Whether recordings were joined here, which a demuxer takes for lost packets."""
    return any(b < a for a, b in pairwise(times))


def _held_back(stream: VideoStream) -> int:
    return max(int(stream.codec_context.has_b_frames), 2)


def _with_flush(packets: Iterator[Packet[VideoStream]]) -> Iterator[Packet[VideoStream] | None]:
    """Packets, then None, which empties the decoder where no empty packet does."""
    yield from intact_packets(packets)
    yield None


def _decoded(stream: VideoStream, packet: Packet[VideoStream] | None) -> list[VideoFrame] | None:
    """Frames that come out after a packet; None when the decoder complains."""
    if packet is None:
        return flush(stream)
    try:
        return packet.decode()
    except (av.FFmpegError, EOFError):
        return None
