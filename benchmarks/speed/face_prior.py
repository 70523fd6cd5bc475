"""Drawing people against deface's blur: frames per second of whole commands, start-up apart.

Method. Sample clips are looped there and back to ``--seconds`` at several sizes and given to both
programs as files: deface 1.5.0 (blur, its defaults), and ``dp3 anonymize`` with its default
generator, without and with the check of the result. Every run is a fresh process, in alternating
order. Start-up is a run on one frame, and is subtracted; choosing the person (a second or two per
person) is part of our time. Nothing is cached between runs. ``--drawing`` times one drawn face
instead, in this process, with the fast form of the network and with plain PyTorch, by turns.

    python -m venv /somewhere && /somewhere/bin/pip install deface==1.5.0
    python -m benchmarks.speed.face_prior --deface /somewhere/bin/deface
    python -m benchmarks.speed.face_prior --drawing
"""

from __future__ import annotations

import argparse
import itertools
import resource
import sys
import tempfile
from pathlib import Path

import cv2

from benchmarks.anonymize_deface import seconds_of
from benchmarks.common import RESULTS, Row, add_draft, metadata, publish, summary
from benchmarks.speed.drawn_face import drawn_face_times
from dp3_lightning.assets import asset_path
from dp3_lightning.video import VideoReader, write_video

WAYS = ("deface", "dp3, no check", "dp3")
CLIPS = {
    "speech 320x240, two faces": ("speech", (240, 320)),
    "smile 640x360": ("smile", (360, 640)),
    "actress 1280x720": ("actress", (720, 1280)),
}
LARGE = 640 * 360
TARGETS = {True: (0.8, 0.5), False: (0.35, 0.25)}  # by size: without and with the check


def looped(name: str, size: tuple[int, int], seconds: float, target: Path) -> Path:
    """Write a sample clip, there and back as often as needed, at a size."""
    reader = VideoReader(asset_path(name))
    count = len(reader)
    turn = [*range(count), *range(count - 2, 0, -1)]
    frames = (
        cv2.resize(reader.frame(i), size[::-1], interpolation=cv2.INTER_AREA)
        for i in itertools.islice(itertools.cycle(turn), round(seconds * 25))
    )
    return write_video(target, frames, 25, crf=14)


def command(way: str, deface: str, source: Path, output: Path, cache: Path) -> list[str]:
    """The command line of one way."""
    if way == "deface":
        return [deface, str(source), "-o", str(output), "--replacewith", "blur"]
    ours = [sys.executable, "-m", "dp3_lightning", "anonymize", "--seed", "1", "--overwrite"]
    check = ["--no-verify", "--identity-check", "off"] if way == "dp3, no check" else []
    return [*ours, *check, str(source), "-o", str(output), "--cache", str(cache)]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    kind = parser.add_mutually_exclusive_group(required=True)
    kind.add_argument("--deface", help="path of the installed program")
    kind.add_argument("--drawing", action="store_true", help="time one drawn face, and only that")
    parser.add_argument("--seconds", type=float, default=60.0, help="length of the clips")
    parser.add_argument("--repeats", type=int, help="default: 1, of --drawing 30")
    parser.add_argument("--output", type=Path, help="results; default: in the repository")
    add_draft(parser)
    arguments = parser.parse_args()
    before = metadata("cpu", arguments.draft)
    if arguments.drawing:
        repeats = arguments.repeats or 30
        output = arguments.output or RESULTS / "face_prior_drawing--cpu.json"
        publish(output, before, {"repeats": repeats}, *drawn_face_times(repeats))
        return
    arguments.repeats = arguments.repeats or 1
    output = arguments.output or RESULTS / "face_prior_speed--cpu.json"
    rows: list[Row] = []
    targets: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for label, (clip, size) in CLIPS.items():
            source = looped(clip, size, arguments.seconds, folder / f"{clip}.mp4")
            one = looped(clip, size, 1 / 25, folder / f"{clip}-one.mp4")
            seconds: dict[str, list[float]] = {way: [] for way in WAYS}
            starts: dict[str, list[float]] = {way: [] for way in WAYS}
            for number in range(arguments.repeats):
                for way in WAYS[:: 1 if number % 2 == 0 else -1]:
                    cache = folder / f"cache-{clip}-{number}-{WAYS.index(way)}"
                    made = folder / "out.mp4"
                    starts[way].append(seconds_of(command(way, arguments.deface, one, made, cache)))
                    seconds[way].append(
                        seconds_of(command(way, arguments.deface, source, made, cache))
                    )
            frames = len(VideoReader(source))
            rates = {
                way: [frames / max(s - min(starts[way]), 1e-9) for s in seconds[way]]
                for way in WAYS
            }
            for way in WAYS:
                rows.append(
                    {
                        "clip": label,
                        "way": way,
                        "frames": frames,
                        "frames per second": summary(rates[way]),
                        "start-up s": min(starts[way]),
                        "of deface's": summary(
                            [a / b for a, b in zip(rates[way], rates["deface"], strict=True)]
                        )["median"],
                    }
                )
            large = size[0] * size[1] >= LARGE
            for way, goal in zip(WAYS[1:], TARGETS[large], strict=True):
                share = next(
                    r["of deface's"] for r in rows if (r["clip"], r["way"]) == (label, way)
                )
                targets.append(
                    {
                        "target": f"{label}, {way}: at least {goal} of deface's frames per second",
                        "measured": round(share, 3),
                        "met": share >= goal,
                    }
                )
    start = max(r["start-up s"] for r in rows if r["way"] == "dp3")
    targets.append(
        {"target": "start-up at most 4 s", "measured": round(start, 2), "met": start <= 4}
    )
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    targets.append(
        {"target": "memory at most 1.5 GB", "measured": round(peak, 2), "met": peak <= 1.5}
    )
    settings = {"repeats": arguments.repeats, "seconds": arguments.seconds}
    publish(output, before, settings, rows, targets)


if __name__ == "__main__":
    main()
