"""Missed detections: is a face ever left in sight, and is more covered than need be?

Method. Reference: all faces that the detector finds in a sample clip (score 0.5 and more). Then
detections are deleted, 10 %, 30 %, or in bursts of 5 frames, and the plan is made from the rest. A
frame counts as missed when a reference face is not covered to 90 % by planned boxes. "before" is
the same without a plan's filling and padding, as tools that treat every frame by itself. Frames
further from any kept detection than the limit cannot be filled; how many there are is printed.

    python -m benchmarks.anonymize_gaps
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.common import RESULTS, Row, add_draft, metadata, publish
from dp3_lightning.anonymize import PlanOptions, plan_video
from dp3_lightning.anonymize.planning.plan import Plan
from dp3_lightning.anonymize.verify import covered_share
from dp3_lightning.assets import asset_path
from dp3_lightning.faces import CenterFace
from dp3_lightning.faces.analysis import VideoAnalysis, cached_analysis
from dp3_lightning.structures import Detection, UInt8Array
from dp3_lightning.video import VideoReader

CLIPS = ("speech", "smile", "actress", "carphone")
LOSSES = ("none", "10 %", "30 %", "bursts of 5")
COVERED = 0.9
EXTRA_AREA = 1.10


class Forgetful:
    """Answers with recorded detections, some of them deleted.

    Args:
        analysis: what was found.
        kept: per frame, whether its detections are given.
        name: for caches.
    """

    def __init__(self, analysis: VideoAnalysis, kept: np.ndarray, name: str) -> None:
        self.found = analysis.detections(0, analysis.n_frames)
        self.kept, self.name, self.next = kept, name, 0

    def __call__(self, frames: list[UInt8Array]) -> list[list[Detection]]:
        """Return the next frames' detections, which is why frames must come in order."""
        indices = range(self.next, self.next + len(frames))
        self.next += len(frames)
        return [self.found[i] if self.kept[i] else [] for i in indices]


def kept_frames(loss: str, n_frames: int, rng: np.random.Generator) -> np.ndarray:
    """Which frames keep their detections."""
    if loss == "none":
        return np.ones(n_frames, dtype=bool)
    if loss.endswith("%"):
        return rng.random(n_frames) >= float(loss.split()[0]) / 100
    kept = np.ones(n_frames, dtype=bool)
    for start in range(int(rng.integers(3, 15)), n_frames - 5, 20):
        kept[start : start + 5] = False
    return kept


def missed(plan: Plan, analysis: VideoAnalysis, within: np.ndarray) -> int:
    """Frames within reach in which a sure face is not covered."""
    count = 0
    for index, faces in enumerate(analysis.faces):
        regions = [box for _, box in plan.boxes_at(index)]
        sure = [f for f in faces if f[4] >= 0.5]
        open_faces = [f for f in sure if covered_share(f[:4], regions) < COVERED]
        count += bool(open_faces) and bool(within[index])
    return count


def covered_area(plan: Plan) -> float:
    """Summed area of all planned boxes inside the frame."""
    height, width = plan.size
    total = 0.0
    for track in plan.tracks:
        for x0, y0, x1, y1 in track.boxes:
            total += max(min(x1, width) - max(x0, 0), 0) * max(min(y1, height) - max(y0, 0), 0)
    return total


def reach(kept: np.ndarray, limit: int) -> np.ndarray:
    """Frames with a kept frame at most ``limit`` before or behind."""
    known = np.flatnonzero(kept)
    distance = np.abs(np.arange(len(kept))[:, None] - known[None]).min(axis=1)
    return np.asarray(distance <= limit)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=RESULTS / "anonymize_gaps--cpu.json")
    add_draft(parser)
    arguments = parser.parse_args()
    before = metadata("cpu", arguments.draft)
    rows: list[Row] = []
    options = PlanOptions()
    bare = replace(options, max_gap=0.0, smooth_window=1)
    with tempfile.TemporaryDirectory() as folder:
        for name in CLIPS:
            path = asset_path(name)
            analysis = cached_analysis(path, CenterFace())
            limit = round(options.max_gap * float(VideoReader(path).average_rate))
            perfect: float | None = None
            for loss in LOSSES:
                totals = {"missed before": 0, "missed": 0, "beyond the limit": 0}
                areas = []
                for seed in range(1 if loss == "none" else arguments.seeds):
                    kept = kept_frames(loss, analysis.n_frames, np.random.default_rng(seed))
                    plans = {}
                    for label, choice in (("ours", options), ("bare", bare)):
                        detector = Forgetful(analysis, kept, f"{name}-{loss}-{seed}-{label}")
                        plans[label] = plan_video(path, detector, choice, Path(folder))
                    within = reach(kept, limit)
                    totals["missed before"] += missed(plans["bare"], analysis, within | True)
                    totals["missed"] += missed(plans["ours"], analysis, within)
                    totals["beyond the limit"] += int((~within).sum())
                    areas.append(covered_area(plans["ours"]))
                if perfect is None:
                    perfect = areas[0]
                rows.append(
                    {
                        "clip": name,
                        "deleted": loss,
                        "frames": analysis.n_frames * len(areas),
                        "missed frame by frame": totals["missed before"],
                        "missed with plan": totals["missed"],
                        "frames beyond the limit": totals["beyond the limit"],
                        "area to that of all detections": float(np.mean(areas)) / perfect,
                    }
                )
    targets: list[Row] = [
        {
            "target": "no face in sight within the fill limit",
            "measured": sum(row["missed with plan"] for row in rows),
            "met": not any(row["missed with plan"] for row in rows),
        },
        {
            "target": f"area at most {EXTRA_AREA:g} of that with all detections",
            "measured": max(row["area to that of all detections"] for row in rows),
            "met": all(row["area to that of all detections"] <= EXTRA_AREA for row in rows),
        },
    ]
    publish(
        arguments.output,
        before,
        {"seeds": arguments.seeds, "covered": COVERED, "max_gap": options.max_gap},
        rows,
        targets,
    )


if __name__ == "__main__":
    main()
