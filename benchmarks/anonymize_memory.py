"""Peak memory of `dp3 anonymize` against the length of the video.

Method. Two synthetic 1280x720 videos of a face over a moving texture, one 20 times as long as the
other. Each run is a process of its own; its highest resident memory is read from the operating
system. The drawn way uses an untrained 64x64 generator, whose memory is small, so that what grows
with length would show.

    python -m benchmarks.anonymize_memory
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.clips import synthetic_frames
from benchmarks.common import RESULTS, Row, add_draft, metadata, publish
from dp3_lightning.video import write_video

LIMIT = 1.10
LENGTHS = (100, 2000)


def child(task: dict[str, str]) -> None:
    """Anonymize and print the peak in MiB."""
    from dp3_lightning.anonymize import CheckOptions, Drawing, Settings, anonymize_video
    from dp3_lightning.generators import StyleGANUnetAdapter
    from dp3_lightning.runtime.allocator import keep_freed_memory

    keep_freed_memory()
    way = task["way"]
    drawing = Drawing.prepare(StyleGANUnetAdapter("small64") if way == "drawn" else way)
    outcome = anonymize_video(
        task["source"],
        task["output"],
        drawing,
        settings=Settings(check=CheckOptions(identity_check="off")),
        cache=Path(task["output"]).parent,
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"peak": peak, "frames": outcome.n_frames, "drawn": outcome.n_drawn}))


def measured(task: dict[str, str]) -> dict[str, float]:
    """Run a child and return what it printed."""
    command = [sys.executable, "-m", "benchmarks.anonymize_memory", "--task", json.dumps(task)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    values: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return values


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--task", type=json.loads, help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, default=RESULTS / "anonymize_memory--cpu.json")
    add_draft(parser)
    arguments = parser.parse_args()
    if arguments.task:
        child(arguments.task)
        return
    before = metadata("cpu", arguments.draft)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        peaks: dict[str, list[float]] = {}
        for length in LENGTHS:
            source = write_video(
                folder / f"{length}.mp4",
                synthetic_frames(length),
                25,
                encoder_options={"preset": "ultrafast"},
            )
            for way in ("blur", "drawn"):
                task = {"source": str(source), "output": str(folder / f"{way}{length}.mp4")}
                values = measured({**task, "way": way})
                peaks.setdefault(way, []).append(values["peak"])
                row = {"way": way, "frames": length, "faces drawn": values["drawn"]}
                rows.append({**row, "peak MiB": round(values["peak"])})
    ratios = {way: values[1] / values[0] for way, values in peaks.items()}
    targets: list[Row] = [
        {
            "target": f"{LENGTHS[1]} frames need at most {LIMIT:g} of the memory of {LENGTHS[0]}",
            "measured": ", ".join(f"{way} {ratio:.3f}" for way, ratio in ratios.items()),
            "met": all(ratio <= LIMIT for ratio in ratios.values()),
        }
    ]
    publish(arguments.output, before, {"size": "1280x720"}, rows, targets)


if __name__ == "__main__":
    main()
