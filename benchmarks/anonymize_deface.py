"""Blurring against deface 1.5.0 (MIT), which is installed apart: missed faces, frames, speed.

Method. Both tools blur the same files with their defaults (deface: `--replacewith blur`, both
CenterFace, CPU), each run a fresh process, in alternating order; times contain start-up, which the
"per frame" of a one-frame run is subtracted for. Reference faces are those that a third, slower
setting finds in the original: CenterFace at twice the frame's size, score 0.6 and more. A face
counts as missed in a frame when the output's pixels in the middle of its box are those of the
original but for the codec (mean difference under 4 levels). The variable-frame-rate file has the
frames of a sample clip with uneven time stamps.

    python -m venv /somewhere && /somewhere/bin/pip install deface==1.5.0
    python -m benchmarks.anonymize_deface --deface /somewhere/bin/deface
"""

from __future__ import annotations

import argparse
import itertools
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from benchmarks.common import RESULTS, Row, add_draft, metadata, publish, summary
from dp3_lightning.assets import asset_path
from dp3_lightning.faces import CenterFace
from dp3_lightning.video import VideoReader, write_video

UNCHANGED = 4.0  # levels
WAYS = ("deface", "dp3, no check", "dp3")
CLIPS = {"speech": (240, 320), "carphone": (300, 400), "actress": (540, 960)}


def make_clips(folder: Path, n_frames: int) -> dict[str, Path]:
    """Sample clips at deface's benchmark sizes, and one with uneven time stamps."""
    clips = {}
    for name, (height, width) in CLIPS.items():
        reader = VideoReader(asset_path(name))
        count = min(n_frames, len(reader))
        # There and back, as often as needed: a long clip without cuts.
        turn = [*range(count), *range(count - 2, 0, -1)]
        frames = (
            cv2.resize(reader.frame(i), (width, height), interpolation=cv2.INTER_AREA)
            for i in itertools.islice(itertools.cycle(turn), n_frames)
        )
        clips[f"{name} {width}x{height}"] = write_video(
            folder / f"{name}.mp4", frames, reader.average_rate, crf=12
        )
    reader = VideoReader(asset_path("smile"))
    stamps = np.cumsum(np.random.default_rng(0).integers(20, 80, len(reader))).tolist()
    clips["uneven 640x360"] = write_video(
        folder / "uneven.mp4", reader, 25, crf=12, pts=stamps, time_base=Fraction(1, 1000)
    )
    return clips


def command(way: str, deface: str, source: Path, output: Path, cache: Path) -> list[str]:
    """The command line of one way."""
    if way == "deface":
        return [deface, str(source), "-o", str(output), "--replacewith", "blur"]
    ours = [sys.executable, "-m", "dp3_lightning", "anonymize", "--generator", "blur"]
    check = ["--no-verify"] if way == "dp3, no check" else []
    return [*ours, "--overwrite", *check, str(source), "-o", str(output), "--cache", str(cache)]


def seconds_of(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


def missed_faces(original: Path, output: Path) -> tuple[int, int]:
    """Frames in which a reference face is left, and frames with any reference face."""
    detector = CenterFace(threshold=0.6, max_side=1280, min_side=640)
    reader, result = VideoReader(original), VideoReader(output)
    count = min(len(reader), len(result))
    missed = with_face = 0
    for index in range(count):
        real, made = reader.frame(index), result.frame(index)
        (faces,) = detector([real])
        left = False
        for face in faces:
            x0, y0, x1, y1 = face.box
            by_x, by_y = (x1 - x0) / 5, (y1 - y0) / 5
            rows = slice(max(round(y0 + by_y), 0), max(round(y1 - by_y), 0))
            columns = slice(max(round(x0 + by_x), 0), max(round(x1 - by_x), 0))
            patch = real[rows, columns].astype(np.int16) - made[rows, columns]
            left = left or bool(patch.size and np.abs(patch).mean() < UNCHANGED)
        with_face += bool(faces)
        missed += left
    return missed, with_face


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--deface", required=True, help="path of the installed program")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--output", type=Path, default=RESULTS / "anonymize_deface--cpu.json")
    add_draft(parser)
    arguments = parser.parse_args()
    before = metadata("cpu", arguments.draft)
    rows: list[Row] = []
    ratios: list[float] = []
    fewer: list[bool] = []
    kept: list[bool] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clips = make_clips(folder, arguments.frames)
        one = write_video(folder / "one.mp4", VideoReader(asset_path("speech")).frames(0, 1), 25)
        for label, source in clips.items():
            seconds: dict[str, list[float]] = {way: [] for way in WAYS}
            starts = dict.fromkeys(WAYS, 0.0)
            for number in range(arguments.repeats):
                for way in WAYS[:: 1 if number % 2 == 0 else -1]:
                    cache = folder / f"{number}{way}"
                    output = folder / f"{way.replace(', ', '-')}-{source.name}"
                    start = seconds_of(
                        command(way, arguments.deface, one, folder / "one-out.mp4", cache)
                    )
                    starts[way] = min(starts[way] or start, start)
                    seconds[way].append(
                        seconds_of(command(way, arguments.deface, source, output, cache))
                    )
            frames = len(VideoReader(source))
            for way in WAYS:
                output = folder / f"{way.replace(', ', '-')}-{source.name}"
                missed, with_face = missed_faces(source, output)
                n_out = len(VideoReader(output))
                rows.append(
                    {
                        "clip": label,
                        "way": way,
                        "frames per second": summary(
                            [frames / max(s - starts[way], 1e-9) for s in seconds[way]]
                        ),
                        "start-up s": starts[way],
                        "frames in": frames,
                        "frames out": n_out,
                        "frames with a missed face": missed,
                        "frames with a face": with_face,
                    }
                )
            theirs, own = rows[-3], rows[-2]
            ratios.append(
                own["frames per second"]["median"] / theirs["frames per second"]["median"]
            )
            fewer.append(own["frames with a missed face"] <= theirs["frames with a missed face"])
            kept.append(own["frames out"] == frames)
    targets: list[Row] = [
        {
            "target": "no check: at least as fast as deface",
            "measured": ", ".join(f"{r:.2f}" for r in ratios),
            "met": min(ratios) >= 1,
        },
        {
            "target": "no more frames with a missed face, on any clip",
            "measured": f"{fewer.count(True)} of {len(fewer)} clips",
            "met": all(fewer),
        },
        {
            "target": "frame count kept",
            "measured": f"{kept.count(True)} of {len(kept)} clips",
            "met": all(kept),
        },
    ]
    publish(arguments.output, before, {"repeats": arguments.repeats}, rows, targets)


if __name__ == "__main__":
    main()
