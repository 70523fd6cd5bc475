"""Anonymizing video: this package against DeepPrivacy2's way, same clips and generator, one run.

Questions: how long does a frame take, and how steady, sharp and alive is the result?

Method. DeepPrivacy2's way is `compat: dp2`: every face in every frame goes through the generator,
windows are whole pixels, boxes as detected, pasted with a hard edge; equal to DeepPrivacy2's
recorded pictures in the tests. Both sides use the same weights in the same fast form, one latent
per person and truncation 0.5, so that what differs is what this package adds around the generator.
Times are whole runs (detection, rendering, checking, encoding) with an empty detection cache, in
alternating order. Faces are scored in a square view that follows them smoothly, with Farneback
flow; rendering uses DIS. "ours, off" draws every frame, "ours" carries faces between drawn ones.
Figures are those of `dp3 evaluate`.

    python -m benchmarks.anonymize_video --part speed
    python -m benchmarks.anonymize_video --part coherence --generator CHECKPOINT
"""

from __future__ import annotations

import argparse
import math
import statistics
import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import RESULTS, Row, add_draft, in_turns, metadata, publish, summary
from dp3_lightning.anonymize import (
    CheckOptions,
    DeviceOptions,
    Drawing,
    OutputOptions,
    PersonOptions,
    RenderOptions,
    Settings,
    anonymize_video,
)
from dp3_lightning.assets import asset_path
from dp3_lightning.evaluation import Tools, evaluate_pair
from dp3_lightning.evaluation.rendering import detected_plan
from dp3_lightning.generators import StyleGANUnetAdapter
from dp3_lightning.runtime.allocator import keep_freed_memory
from dp3_lightning.video import VideoReader, write_video

CLIPS = ("speech", "smile", "actress", "carphone")
SPEED_TARGET = 5.0
EXCESS_TARGET = 0.5
# Of `dp3 evaluate`, which says what they mean; the first five have targets.
FIGURES = (
    "excess warping error",
    "tOF",
    "sharpness",
    "MobileNetV2 kernel distance",
    "mouth correlation",
    "face found",
    "identity distance, least",
)


def settings(compat: bool, verify: bool, propagation: str = "adaptive") -> Settings:
    """The choices of one alternative."""
    return Settings(
        render=RenderOptions(compat="dp2" if compat else "none", propagation=propagation),
        people=PersonOptions(truncation=0.5, seed=0),
        output=OutputOptions(overwrite=True, crf=12),
        check=CheckOptions(verify=verify, identity_check="off"),
    )


def excerpt(name: str, folder: Path, n_frames: int, suffix: str = "") -> Path:
    """The first frames of a sample clip, as a file that people would have."""
    reader = VideoReader(asset_path(name))
    count = min(n_frames, len(reader))
    path = folder / f"{name}{suffix}.mp4"
    frames = reader.frames(0, count)
    return write_video(path, frames, reader.average_rate, crf=12)


def speed(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Seconds per frame of whole runs."""
    n_frames, repeats = (12, 1) if arguments.quick else (48, 2)
    torch.manual_seed(0)
    network = StyleGANUnetAdapter("small64" if arguments.quick else "fdf128")
    drawings = {p: Drawing.prepare(network, DeviceOptions(precision=p)) for p in ("32", "bf16")}
    variants = {
        "dp2": (drawings["32"], settings(True, False)),
        "ours": (drawings["32"], settings(False, True)),
        "ours, no check": (drawings["32"], settings(False, False)),
        "dp2, bf16": (drawings["bf16"], settings(True, False)),
        "ours, bf16": (drawings["bf16"], settings(False, True)),
    }
    if not arguments.bf16:
        variants = {label: way for label, way in variants.items() if "bf16" not in label}
    baseline = {"ours": "dp2", "ours, no check": "dp2", "ours, bf16": "dp2, bf16"}
    rows: list[Row] = []
    ratios: list[float] = []
    for name in CLIPS[:3]:
        source = excerpt(name, folder, n_frames)
        drawn: dict[str, int] = {}

        def once(round_number: int, label: str, source: Path = source) -> None:
            drawing, choice = variants[label]
            with tempfile.TemporaryDirectory(dir=folder) as cache:
                outcome = anonymize_video(
                    source, Path(cache) / "out.mp4", drawing, settings=choice, cache=Path(cache)
                )
            drawn[label] = outcome.n_drawn  # noqa: B023

        alternatives = {
            label: (lambda number, label=label: once(number, label)) for label in variants
        }
        short = excerpt(name, folder, 6, "short")  # so that everything is loaded
        for label in variants:
            once(0, label, short)
        seconds = in_turns(alternatives, repeats, warmup=0)
        for label in variants:
            per_round = [
                seconds[baseline[label]][i] / seconds[label][i] for i in range(repeats)
            ] if label in baseline else []  # fmt: skip
            rows.append(
                {
                    "clip": name,
                    "way": label,
                    "ms per frame": summary([1e3 * s / n_frames for s in seconds[label]]),
                    "faces drawn": drawn[label],
                    "times as fast": summary(per_round) if per_round else None,
                }
            )
            if label == "ours":
                ratios.append(statistics.median(per_round))
    return {
        "rows": rows,
        "targets": [
            {
                "target": f"ours, check on: at least {SPEED_TARGET:g} times as fast as dp2",
                "measured": ", ".join(f"{r:.2f}" for r in ratios),
                "met": bool(min(ratios) >= SPEED_TARGET),
            }
        ],
    }


def coherence(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Steadiness, sharpness, realism and liveliness, on all clips."""
    n_frames = 24 if arguments.quick else 96
    drawing = Drawing.prepare(arguments.generator or StyleGANUnetAdapter("small64"))
    ways = {"dp2": (True, "off"), "ours, off": (False, "off"), "ours": (False, "adaptive")}
    tools = Tools.at_hand()
    rows: list[Row] = []
    scores: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    for name in CLIPS:
        source = excerpt(name, folder, n_frames)
        plan = detected_plan(source, folder / "cache")
        for way, (compat, propagation) in ways.items():
            output = folder / f"{name}-{way}.mp4"
            choices = settings(compat, False, propagation)
            anonymize_video(source, output, drawing, settings=choices, cache=folder / "cache")
            for number, face in enumerate(evaluate_pair(source, output, plan, tools), start=1):
                values = {key: face.values.get(key, math.nan) for key in FIGURES}
                scores[way].append(values)
                known = {k: v if math.isfinite(v) else None for k, v in values.items()}
                rows.append({"face": f"{name} {number}", "way": way, **known})
    rows.sort(key=lambda row: str(row["face"]))  # the ways of one face below each other
    return {"rows": rows, "targets": _coherence_targets(scores["dp2"], scores["ours"])}


def _coherence_targets(theirs: list[dict[str, float]], ours: list[dict[str, float]]) -> list[Row]:
    def paired(key: str) -> str:
        return ", ".join(f"{a[key]:.3g} to {b[key]:.3g}" for a, b in zip(theirs, ours, strict=True))

    excess = "excess warping error"
    shares = [b[excess] / a[excess] for a, b in zip(theirs, ours, strict=True)]
    lower_is_better = ("tOF", "MobileNetV2 kernel distance")
    rows: list[Row] = [
        {
            "target": f"excess warping error at most {EXCESS_TARGET:g} of dp2's",
            "measured": ", ".join(f"{s:.2f}" for s in shares),
            "met": bool(max(shares) <= EXCESS_TARGET),
        }
    ]
    for key in FIGURES[1:5]:
        sign = -1 if key in lower_is_better else 1
        held = [
            sign * (b[key] - a[key]) >= -0.02 * abs(a[key])
            for a, b in zip(theirs, ours, strict=True)
        ]
        rows.append(
            {
                "target": f"{key} no worse than dp2's (2 % tolerance)",
                "measured": paired(key),
                "met": all(held),
            }
        )
    return rows


PARTS = {"speed": speed, "coherence": coherence}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--part", choices=sorted(PARTS), required=True)
    parser.add_argument("--generator", help="checkpoint for --part coherence; default: untrained")
    parser.add_argument("--bf16", action="store_true", help="rows in bfloat16 as well")
    parser.add_argument("--quick", action="store_true", help="smoke run; not for publication")
    parser.add_argument("--output", type=Path)
    add_draft(parser)
    arguments = parser.parse_args()
    keep_freed_memory()
    before = metadata("cpu", arguments.draft)
    with tempfile.TemporaryDirectory() as folder:
        results = PARTS[arguments.part](arguments, Path(folder))
    asked = {
        "quick": arguments.quick,
        "generator": Path(arguments.generator).name if arguments.generator else "untrained",
    }
    output = arguments.output or RESULTS / f"anonymize_{arguments.part}--cpu.json"
    publish(output, before, asked, results["rows"], results["targets"])


if __name__ == "__main__":
    main()
