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

# These decoders neither mark a damaged picture nor complain, unless they are told to.
_SILENT = frozenset({"hevc", "mjpeg"})
# With several threads, these hand out damaged pictures without a mark.
_MARKS_LATE = frozenset({"h264", "mpeg1video", "mpeg2video", "mpeg4"})


def path_for_ffmpeg(path: Path) -> str:
    """Return the absolute path: FFmpeg takes what stands before a colon for a protocol."""
    return str(path.absolute())


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
        container = av.open(path_for_ffmpeg(path))
    except av.FFmpegError as error:
        raise UnreadableVideoError(
            path, f"{error.strerror} (cut off, empty or no video)"
        ) from error
    for stream in container.streams.video:
        if stream.codec_context is not None and stream.codec_context.name in _SILENT:
            stream.codec_context.options = {"err_detect": "explode"}
        if not stream.disposition & Disposition.attached_pic and stream.codec_context is not None:
            stream.thread_type = "AUTO"
            stream.thread_count = 1 if stream.codec_context.name in _MARKS_LATE else threads
            return container, stream
    container.close()
    raise UnreadableVideoError(path, "it has no video stream")


def intact_packets(packets: Iterable[Packet[VideoStream]]) -> Iterator[Packet[VideoStream]]:
    """Packets up to the end of the file or to the first place that cannot be demuxed."""
    try:
        yield from packets
    except (av.FFmpegError, IndexError):
        return  # PyAV gives the second at the end, when damage has brought up another stream


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
        yield from flush(stream)


def flush(stream: VideoStream) -> list[VideoFrame]:
    """Frames that the decoder still holds at the end of the file."""
    try:
        return stream.codec_context.decode(None)
    except (av.FFmpegError, EOFError):
        return []
