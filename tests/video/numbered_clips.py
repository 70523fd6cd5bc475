"""Small videos whose frames show their own number, and ways to damage them."""

from collections.abc import Iterable
from pathlib import Path

import av
import numpy as np

from dp3_lightning.structures import UInt8Array

Options = dict[str, str] | None

HEIGHT, WIDTH, BLOCK = 48, 64, 10
B_FRAMES = {"x264-params": "keyint=12:min-keyint=12:scenecut=0:bframes=3:b-adapt=0"}
OPEN_GOP = {"x264-params": B_FRAMES["x264-params"] + ":open-gop=1"}


def number_frame(number: int, height: int = HEIGHT, width: int = WIDTH) -> UInt8Array:
    """A frame that shows its number in binary, six vertical bars."""
    frame = np.zeros((height, width, 3), np.uint8)
    for bit in range(6):
        frame[:, bit * BLOCK : (bit + 1) * BLOCK] = 255 * (number >> bit & 1)
    return frame


def read_number(frame: UInt8Array) -> int:
    row = frame[frame.shape[0] // 2].astype(int).mean(axis=-1)
    return sum((row[bit * BLOCK + BLOCK // 2] > 127) << bit for bit in range(6))


def encode(
    path: Path,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    options: Options = None,
    count: int = 40,
    pictures: list[av.VideoFrame] | None = None,
) -> Path:
    pictures = pictures or [av.VideoFrame.from_ndarray(number_frame(i)) for i in range(count)]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options or {})
        stream.width, stream.height, stream.pix_fmt = pictures[0].width, pictures[0].height, pix_fmt
        for picture in pictures:
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


def remux(
    source: Path, target: Path, shift: int = 0, options: Options = None, rotation: int | None = None
) -> Path:
    with av.open(str(source)) as old, av.open(str(target), "w", options=options or {}) as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        if rotation is not None:
            stream.set_display_rotation(rotation)
        for packet in old.demux(video=0):
            if packet.size:
                packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                packet.stream = stream
                new.mux(packet)
    return target


def damage(source: Path, target: Path, chosen: Iterable[int]) -> Path:
    data = bytearray(source.read_bytes())
    with av.open(str(source)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        for number in chosen:
            start = bytes(data).find(bytes(packets[number]), packets[number].pos)
            data[start : start + packets[number].size] = b"\xff" * packets[number].size
    target.write_bytes(data)
    return target


def textured(count: int = 40, height: int = 96, width: int = 128) -> list[av.VideoFrame]:
    """Pictures of texture that moves, so that damage spreads and is seen."""
    rng = np.random.default_rng(3)
    coarse = rng.integers(40, 215, (height, width, 3)).astype(np.uint8)
    wide = np.kron(coarse, np.ones((4, 4, 1), np.uint8))
    pictures = []
    for i in range(count):
        moved = wide[i : i + height, 2 * i : 2 * i + width]
        grain = rng.integers(-20, 20, (height, width, 1))  # what a decoder needs bits for
        pictures.append(np.clip(moved + grain, 0, 255).astype(np.uint8))
    return [av.VideoFrame.from_ndarray(picture) for picture in pictures]


def scramble(source: Path, target: Path, number: int, at: float = 0.5, count: int = 60) -> Path:
    """Flip bits of ``count`` bytes inside packet ``number``, from the share ``at`` of it on."""
    data = bytearray(source.read_bytes())
    with av.open(str(source)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        content = bytes(packets[number])
    start = bytes(data).find(content)
    assert start >= 0
    flips = np.random.default_rng(number).integers(1, 256, count)
    first = start + int(at * len(content))
    for offset in range(min(count, start + len(content) - first)):
        data[first + offset] ^= int(flips[offset])
    target.write_bytes(data)
    return target
