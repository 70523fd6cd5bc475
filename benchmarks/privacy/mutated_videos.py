"""Damaged videos through `dp3 anonymize --generator blur`: no crash, no hang, no face left.

Method. Small clips in five kinds of files (H.264 in MP4 and TS, MPEG-4 in AVI, HEVC in Matroska,
VP9 in WebM) show a moving patch of checks in two colours that occur nowhere else; a detector that
knows the colours stands for the face detector. Each video is damaged by one of three hands, with a
seed of its own: `bytes` (runs of bytes flipped, zeroed, cut out or repeated anywhere), `packets`
(dropped, repeated, swapped, cut short, then muxed anew or cut out of the transport stream) and
`headers` (bytes of the first and last 2 kB and of the codec's configuration). It goes through the
command's job in a process of its own. A clear error counts as `refused`. A face is left when a
frame of the output shows at least `LEAST` pixels of each colour where the damaged source has them:
a blur mixes them to grey, or to one colour where damage has left little of the other.

    python -m benchmarks.privacy.mutated_videos --count 500
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from benchmarks.common import RESULTS, Row, add_draft, metadata, publish
from dp3_lightning.anonymize import CheckOptions, Settings, anonymize_video
from dp3_lightning.structures import Detection, UInt8Array
from dp3_lightning.video import FrameUnavailableError, VideoReader
from dp3_lightning.video.color import ColorTags, rgb_to_picture

SECONDS = 60.0  # per video, on one core; a sound one takes about one
LEAST = 8  # pixels
COLORS = ((255, 0, 255), (0, 255, 0))
HEIGHT, WIDTH, N_FRAMES, SIDE = 96, 144, 40, 32
KINDS = {
    "mp4": ("libx264", {"crf": "8", "g": "12"}),
    "ts": ("libx264", {"crf": "8", "g": "12"}),
    "avi": ("mpeg4", {"qmin": "1", "qmax": "3", "g": "12"}),
    "mkv": ("libx265", {"crf": "8", "x265-params": "keyint=12:log-level=none"}),
    "webm": ("libvpx-vp9", {"crf": "8", "b": "0", "g": "12"}),
}
VERDICTS = ("done", "refused", "face left", "crash", "hang")
HANDS = ("bytes", "packets", "headers")
CLEAR = (ValueError, TypeError, OSError)  # errors that the command tells in one line


def near_colors(frame: UInt8Array) -> list[npt.NDArray[np.bool_]]:
    """Return where a frame shows each colour of the patch, ``(H, W)``."""
    levels = frame.astype(np.int16)
    return [(np.abs(levels - np.array(color)) <= 55).all(axis=2) for color in COLORS]


def shows_patch(output: UInt8Array, source: UInt8Array) -> bool:
    """Whether both colours are seen where the source has them: a blur may leave one of them."""
    pairs = zip(near_colors(output), near_colors(source), strict=True)
    return all(int((there & before).sum()) >= LEAST for there, before in pairs)


def frames_with_patch(output: Path, source: Path) -> list[int]:
    """Return the frames of the output that show the patch as the source does."""
    found, last = [], None
    with VideoReader(output) as made, VideoReader(source) as real:
        for index, frame in enumerate(made):
            with contextlib.suppress(FrameUnavailableError):  # the frame before stands in for it
                last = real.frame(index) if index < len(real) else last
            if last is not None and shows_patch(frame, last):
                found.append(index)
    return found


class PatchDetector:
    """Finds the patch by its colours."""

    name = "patch"

    def __call__(self, frames: list[UInt8Array]) -> list[list[Detection]]:
        """Return boxes of all coloured areas."""
        return [self._find(frame) for frame in frames]

    def _find(self, frame: UInt8Array) -> list[Detection]:
        shown = np.logical_or(*near_colors(frame)).astype(np.uint8)
        joined = cv2.morphologyEx(shown, cv2.MORPH_CLOSE, np.ones((9, 9), np.uint8))
        count, _, stats, _ = cv2.connectedComponentsWithStats(joined, connectivity=8)
        return [
            Detection((float(x), float(y), float(x + w), float(y + h)), 0.9)
            for x, y, w, h, area in stats[1:count]
            if area >= LEAST
        ]


def make_clip(path: Path, codec: str, options: dict[str, str]) -> Path:
    """Write the clip with the patch."""
    coarse = np.random.default_rng(0).integers(70, 180, (20, 40, 1)).astype(np.uint8)
    wide = cv2.resize(coarse, (320, 160), interpolation=cv2.INTER_CUBIC)
    ys, xs = np.mgrid[:SIDE, :SIDE]
    checks = np.where(((ys // 4 + xs // 4) % 2 == 1)[..., None], COLORS[0], COLORS[1])
    reformatter = VideoReformatter()
    first = {"movflags": "faststart"} if path.suffix == ".mp4" else {}
    with av.open(str(path), "w", options=first) as container:
        stream = container.add_stream(codec, rate=25, options=options)
        if not isinstance(stream, VideoStream):
            raise TypeError(f"{codec} encodes no video.")
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        for i in range(N_FRAMES):
            frame = np.repeat(wide[i // 2 : i // 2 + HEIGHT, i : i + WIDTH, None], 3, axis=2)
            x, y = 8 + 2 * i, 20 + 4 * (i // 4 % 4)
            frame[y : y + SIDE, x : x + SIDE] = checks
            picture = rgb_to_picture(reformatter, frame, "yuv420p", ColorTags(matrix=6))
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


def damage_bytes(data: bytearray, rng: np.random.Generator) -> None:
    """Flip, zero, cut out or repeat runs of bytes anywhere."""
    for _ in range(rng.integers(1, 5)):
        at, length = int(rng.integers(len(data))), int(2 ** rng.uniform(0, 9))
        part = data[at : at + length]
        match int(rng.integers(4)):
            case 0:
                flips = rng.integers(1, 256, len(part)).tolist()
                data[at : at + length] = bytes(a ^ b for a, b in zip(part, flips, strict=True))
            case 1:
                data[at : at + length] = bytes(len(part))
            case 2:
                del data[at : at + length]
            case 3:
                data[at:at] = part


def damage_headers(data: bytearray, rng: np.random.Generator) -> None:
    """Change bytes where containers keep what they say of themselves."""
    places = [*range(min(2048, len(data))), *range(max(len(data) - 2048, 0), len(data))]
    marks = (b"moov", b"avcC", b"stbl", b"\x1a\x45\xdf\xa3", b"idx1", b"strf", b"hvcC", b"elst")
    for mark in marks:
        at = bytes(data).find(mark)
        places += range(at, min(at + 64, len(data))) if at >= 0 else ()
    for place in rng.choice(places, int(rng.integers(1, 5))):
        data[place] = int(rng.integers(256))


def damage_packets(source: Path, target: Path, rng: np.random.Generator) -> None:
    """Drop, repeat, swap and cut packets short."""
    if source.suffix == ".ts":
        data = source.read_bytes()
        parts = [data[i : i + 188] for i in range(0, len(data), 188)]
        kept = [part for part in parts if rng.random() > 0.02]
        target.write_bytes(b"".join(kept))
        return
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        packets = [packet for packet in old.demux(video=0) if packet.size]
        contents = [bytes(packet) for packet in packets]
        for _ in range(rng.integers(1, 6)):
            a, b = (int(v) for v in rng.integers(len(packets), size=2))
            match int(rng.integers(4)):
                case 0:
                    contents[a] = b""
                case 1:
                    contents[a] = contents[b]
                case 2:
                    contents[a], contents[b] = contents[b], contents[a]
                case 3:
                    contents[a] = contents[a][: max(1, int(rng.random() * len(contents[a])))]
        for packet, content in zip(packets, contents, strict=True):
            if content:
                made = av.Packet(content)
                made.pts, made.dts, made.time_base = packet.pts, packet.dts, packet.time_base
                made.is_keyframe, made.stream = packet.is_keyframe, stream
                with contextlib.suppress(av.FFmpegError):  # the muxer does not take all damage
                    new.mux(made)


def mutate(source: Path, target: Path, hand: str, rng: np.random.Generator) -> None:
    """Damage a video."""
    if hand == "packets":
        damage_packets(source, target, rng)
        return
    data = bytearray(source.read_bytes())
    (damage_bytes if hand == "bytes" else damage_headers)(data, rng)
    target.write_bytes(data)


def treat(source: Path, output: Path) -> tuple[str, str]:
    """Anonymize one video and look at the result; returns verdict and detail."""
    warnings.simplefilter("ignore")
    settings = Settings(check=CheckOptions(identity_check="off"))
    try:
        anonymize_video(
            source,
            output,
            "blur",
            settings=settings,
            detector=PatchDetector(),
            cache=output.parent / "cache",
        )
    except CLEAR as error:
        return "refused", str(error)[:200]
    except Exception as error:
        return "crash", f"{type(error).__name__}: {error}"[:300]
    left = frames_with_patch(output, source)
    return ("face left", f"frames {left[:10]}") if left else ("done", "")


def in_own_process(work: Callable[..., Any], *arguments: Any) -> tuple[str, str]:
    """Run ``work`` in a process that may crash or hang."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=lambda: sender.send(work(*arguments)))
    child.start()
    sender.close()
    try:
        if not receiver.poll(SECONDS):
            return "hang", f"more than {SECONDS:.0f} s"
        verdict: tuple[str, str] = receiver.recv()
        return verdict
    except EOFError:
        child.join()
        return "crash", f"ended with {child.exitcode}"
    finally:
        child.kill()
        child.join()


def _make_clips(folder: Path) -> tuple[str, str]:
    for suffix, (codec, options) in KINDS.items():
        make_clip(folder / f"clip.{suffix}", codec, options)
    return "done", ""


def _one(number: int, source: Path, hand: str, folder: Path) -> tuple[str, str]:
    target = folder / f"damaged{source.suffix}"
    mutate(source, target, hand, np.random.default_rng(number))
    return treat(target, folder / f"out{source.suffix}")


def run(count: int, first: int = 0, keep: Path | None = None) -> list[Row]:
    """Damage and treat ``count`` videos; returns a row each."""
    av.logging.set_level(None)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        clips = Path(name)
        in_own_process(_make_clips, clips)
        for number in range(first, first + count):
            suffix = list(KINDS)[number % len(KINDS)]
            hand = HANDS[number // len(KINDS) % len(HANDS)]
            with tempfile.TemporaryDirectory() as inner:
                source = clips / f"clip.{suffix}"
                verdict, detail = in_own_process(_one, number, source, hand, Path(inner))
                if keep is not None and verdict not in ("done", "refused"):
                    damaged = Path(inner) / f"damaged.{suffix}"
                    (keep / f"{number}.{suffix}").write_bytes(damaged.read_bytes())
            rows.append(
                {"number": number, "file": suffix, "hand": hand, "verdict": verdict}
                | {"detail": detail}
            )
            if verdict not in ("done", "refused"):
                print(rows[-1], flush=True)
    return rows


def by_kind(rows: Sequence[Row]) -> list[Row]:
    """Count verdicts per kind of file and damage."""
    counts = Counter((row["file"], row["hand"], row["verdict"]) for row in rows)
    kinds = sorted({(file, hand) for file, hand, _ in counts})
    return [
        {"file": file, "damage": hand} | {v: counts[file, hand, v] for v in VERDICTS}
        for file, hand in kinds
    ]


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=500, help="videos")
    parser.add_argument("--first", type=int, default=0, help="number of the first, its seed")
    parser.add_argument("--keep", type=Path, default=None, help="folder for videos that failed")
    parser.add_argument("--output", type=Path, default=RESULTS / "mutated_videos--cpu.json")
    add_draft(parser)
    options = parser.parse_args()
    before = metadata("cpu", options.draft)
    rows = run(options.count, options.first, options.keep)
    targets = [
        {"what": verdict, "target": 0, "measured": sum(row["verdict"] == verdict for row in rows)}
        for verdict in VERDICTS[2:]
    ]
    settings = {"count": options.count, "first": options.first, "seconds_allowed": SECONDS}
    publish(options.output, before, settings, by_kind(rows), targets)


if __name__ == "__main__":
    main()
