"""Open a file and pull frames out of its packets, passing over what is damaged."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from dp3_lightning.video.errors import UnreadableVideoError


def open_video(path: Path, threads: int = 0) -> tuple[InputContainer, VideoStream]:
    """Open a file and choose its first video stream that is not cover art.

    Args:
        path: the file.
        threads: decoder threads; 0 lets FFmpeg choose.

    Raises:
        FileNotFoundError: there is no such file.
        UnreadableVideoError: it is no video, or has no video stream.
    """
    if not path.exists():
        raise FileNotFoundError(f"No video file at {str(path)!r}. Check the path.")
    if path.is_dir():
        raise UnreadableVideoError(path, "it is a folder")
    try:
        container = av.open(str(path))
    except av.FFmpegError as error:
        raise UnreadableVideoError(
            path, f"{error.strerror} (cut off, empty or no video)"
        ) from error
    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic and stream.codec_context is not None:
            stream.thread_type = "AUTO"
            stream.thread_count = threads
            return container, stream
    container.close()
    raise UnreadableVideoError(path, "it has no video stream")


def intact_packets(packets: Iterable[Packet[VideoStream]]) -> Iterator[Packet[VideoStream]]:
    """Packets up to the end of the file or to the first place that cannot be demuxed."""
    try:
        yield from packets
    except av.FFmpegError:
        return


def decode_packet(packet: Packet[VideoStream]) -> list[VideoFrame]:
    """Frames that come out of the decoder after this packet; none when the packet is damaged."""
    try:
        return packet.decode()
    except (av.FFmpegError, EOFError):
        return []


def decode_packets(
    stream: VideoStream, packets: Iterable[Packet[VideoStream]]
) -> Iterator[VideoFrame]:
    """Every frame that the decoder gives, in its order; damaged packets are passed over."""
    flushed = False
    for packet in intact_packets(packets):
        flushed = packet.size == 0  # demuxing ends with an empty packet, which flushes
        yield from decode_packet(packet)
    if not flushed:
        yield from _flush(stream)


def decode_intact(
    stream: VideoStream, packets: Iterable[Packet[VideoStream]]
) -> Iterator[VideoFrame]:
    """Frames that do not build on a damaged packet, in the decoder's order.

    After damage a decoder goes on from whatever picture it has, which may be one of another time,
    and does not mark the result. Hence only keyframes are trusted until one comes out that was
    sent after the decoder complained. Damage that the decoder does not notice stays.
    """
    trusted, flushed = True, False
    resume: int | None = None
    for packet in intact_packets(packets):
        flushed = packet.size == 0
        if not trusted and resume is None and packet.is_keyframe:
            resume = packet.pts
        try:
            frames = packet.decode()
        except (av.FFmpegError, EOFError):
            trusted, resume = False, None
            continue
        for frame in frames:
            trusted = trusted or (resume is not None and frame.pts == resume)
            if trusted or frame.key_frame:
                yield frame
    if not flushed:
        yield from (frame for frame in _flush(stream) if trusted or frame.key_frame)


def _flush(stream: VideoStream) -> list[VideoFrame]:
    try:
        return stream.codec_context.decode(None)
    except (av.FFmpegError, EOFError):
        return []
