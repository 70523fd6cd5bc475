"""Anonymizing video: this package against DeepPrivacy2's way, same clips and generator, one run.

Questions: how long does a frame take, and how steady, sharp and alive is the result?

Method. DeepPrivacy2's way is `compat: dp2`: every face in every frame goes through the generator,
windows are whole pixels, boxes as detected, pasted with a hard edge; equal to DeepPrivacy2's
recorded pictures in the tests. Both sides use the same weights in the same fast form, one latent
per person and truncation 0.5, so that what differs is what this package adds around the generator.
Times are whole runs (detection, rendering, checking, encoding) with an empty detection cache, in
alternating order. Steadiness is scored with Farneback flow; rendering uses DIS. "ours, off" draws
every frame, "ours" carries faces between drawn ones.

    python -m benchmarks.anonymize_video --part speed
    python -m benchmarks.anonymize_video --part coherence --generator CHECKPOINT
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common import RESULTS, Row, in_turns, metadata, publish, summary
from dp3_lightning.allocator import keep_freed_memory
from dp3_lightning.anonymize import (
    CheckOptions,
    DeviceOptions,
    Drawing,
    OutputOptions,
    PersonOptions,
    PlanOptions,
    RenderOptions,
    Settings,
    anonymize_video,
    plan_video,
)
from dp3_lightning.anonymize.compat import as_detected
from dp3_lightning.anonymize.plan import Plan
from dp3_lightning.assets import asset_path
from dp3_lightning.faces import CenterFace
from dp3_lightning.generators import StyleGANUnetAdapter
from dp3_lightning.metrics import (
    FeaturePool,
    correlation,
    flow_difference,
    frechet_distance,
    mouth_opening,
    sharpness,
    warping_errors,
)
from dp3_lightning.optical_flow import FarnebackFlow
from dp3_lightning.video import VideoReader, write_video

CLIPS = ("speech", "smile", "actress", "carphone")
SPEED_TARGET = 5.0
EXCESS_TARGET = 0.5


def settings(compat: bool, verify: bool, propagation: str = "adaptive") -> Settings:
    """The choices of one alternative."""
    return Settings(
        render=RenderOptions(compat="dp2" if compat else "none", propagation=propagation),
        people=PersonOptions(truncation=0.5, seed=0),
        output=OutputOptions(overwrite=True, crf=12),
        check=CheckOptions(verify=verify, identity_check="off"),
    )


def excerpt(name: str, folder: Path, n_frames: int) -> Path:
    """The first frames of a sample clip, lossless."""
    reader = VideoReader(asset_path(name))
    count = min(n_frames, len(reader))
    path = folder / f"{name}.mkv"
    frames = reader.frames(0, count)
    return write_video(path, frames, reader.average_rate, lossless=True)


def speed(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Seconds per frame of whole runs."""
    n_frames, repeats = (12, 1) if arguments.quick else (48, 3)
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
        seconds = in_turns(alternatives, repeats, warmup=1)
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


def region_of(plan: Plan, count: int, size: Sequence[int], inset: float = 0.0) -> torch.Tensor:
    """Where faces are, ``(T, 1, H, W)``; ``inset``: share of the box left out on every side."""
    region = torch.zeros(count, 1, *size)
    for index in range(count):
        for _, box in plan.boxes_at(index):
            by_x, by_y = inset * (box[2] - box[0]), inset * (box[3] - box[1])
            x0, y0, x1, y1 = (
                round(v) for v in (box[0] + by_x, box[1] + by_y, box[2] - by_x, box[3] - by_y)
            )
            region[index, 0, max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)] = 1
    return region


def as_clip(path: Path) -> torch.Tensor:
    """All frames, ``(T, 3, H, W)`` in [-1, 1]."""
    frames = np.stack(list(VideoReader(path)))
    return torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 127.5 - 1


def face_crops(clip: torch.Tensor, plan: Plan, side: int = 128) -> torch.Tensor:
    """All faces, ``(N, 3, side, side)``, with a quarter of the box around them."""
    crops = []
    for index in range(len(clip)):
        for _, box in plan.boxes_at(index):
            half = 0.625 * max(box[2] - box[0], box[3] - box[1])
            x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
            x0, y0 = max(round(x - half), 0), max(round(y - half), 0)
            part = clip[index, :, y0 : round(y + half), x0 : round(x + half)][None]
            crops.append(
                torch.nn.functional.interpolate(part, (side, side), mode="bilinear", antialias=True)
            )
    return torch.cat(crops)


def _batches(pictures: torch.Tensor, size: int = 32) -> Iterator[torch.Tensor]:
    for start in range(0, len(pictures), size):
        yield pictures[start : start + size]


def score(output: torch.Tensor, original: torch.Tensor, plan: Plan) -> dict[str, float]:
    """All figures of one output."""
    region = region_of(plan, len(original), original.shape[-2:])
    # A hard edge of the pasted box would count as sharpness.
    inside = region_of(plan, len(original), original.shape[-2:], inset=0.15)
    flow = FarnebackFlow()
    pair_valid = torch.tensor([i not in set(plan.cuts) for i in range(1, len(original))])
    errors = warping_errors(output, original, region, flow, pair_valid)
    weights = asset_path("mobilenet_v2")
    real = FeaturePool.of(weights, _batches(face_crops(original, plan))).features
    made = FeaturePool.of(weights, _batches(face_crops(output, plan))).features
    mouths = []
    for person in sorted({t.person for t in plan.tracks}):
        boxes = [
            next((b for t, b in plan.boxes_at(i) if t.person == person), (np.nan,) * 4)
            for i in range(len(original))
        ]
        known = [b if np.isfinite(b).all() else (0.0, 0.0, 0.0, 0.0) for b in boxes]
        mouths.append(
            correlation(mouth_opening(original, known, flow), mouth_opening(output, known, flow))
        )
    return {
        "excess warping error x1e4": 1e4 * errors.excess,
        "tOF": flow_difference(output, original, region, flow, pair_valid),
        "sharpness x1e3": 1e3 * sharpness(output, inside),
        "MobileNetV2 Frechet": frechet_distance(made, real),
        "mouth correlation": float(np.nanmean(mouths)),
    }


def coherence(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Steadiness, sharpness, realism and liveliness, on all clips."""
    n_frames = 12 if arguments.quick else 96
    drawing = Drawing.prepare(arguments.generator or StyleGANUnetAdapter("small64"))
    ways = {"dp2": (True, "off"), "ours, off": (False, "off"), "ours": (False, "adaptive")}
    rows: list[Row] = []
    scores: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    for name in CLIPS:
        source = excerpt(name, folder, n_frames)
        plan = plan_video(source, CenterFace(), as_detected(PlanOptions()), folder / "cache")
        original = as_clip(source)
        for way, (compat, propagation) in ways.items():
            output = folder / f"{name}-{way}.mp4"
            anonymize_video(
                source,
                output,
                drawing,
                settings=settings(compat, False, propagation),
                cache=folder / "cache",
            )
            found = score(as_clip(output), original, plan)
            scores[way].append(found)
            rows.append({"clip": name, "way": way, **found})
        region = region_of(plan, len(original), original.shape[-2:], inset=0.15)
        real = {"sharpness x1e3": 1e3 * sharpness(original, region)}
        rows.append({key: {"clip": name, "way": "original", **real}.get(key) for key in rows[0]})
    return {"rows": rows, "targets": _coherence_targets(scores["dp2"], scores["ours"])}


def _coherence_targets(theirs: list[dict[str, float]], ours: list[dict[str, float]]) -> list[Row]:
    def paired(key: str) -> str:
        return ", ".join(f"{a[key]:.3g} to {b[key]:.3g}" for a, b in zip(theirs, ours, strict=True))

    excess = "excess warping error x1e4"
    shares = [b[excess] / a[excess] for a, b in zip(theirs, ours, strict=True)]
    lower_is_better = ("tOF", "MobileNetV2 Frechet")
    rows: list[Row] = [
        {
            "target": f"excess warping error at most {EXCESS_TARGET:g} of dp2's",
            "measured": ", ".join(f"{s:.2f}" for s in shares),
            "met": bool(max(shares) <= EXCESS_TARGET),
        }
    ]
    for key in ("tOF", "sharpness x1e3", "MobileNetV2 Frechet", "mouth correlation"):
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
    parser.add_argument("--quick", action="store_true", help="smoke run; not for publication")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    keep_freed_memory()
    before = metadata("cpu")
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
