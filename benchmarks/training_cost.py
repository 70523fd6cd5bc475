"""Time and memory of a training step with each additive term.

Question: what does every term cost on top of the adversarial step, waiting for the loader included?

Method: one Trainer, one process; short segments of training alternate between the terms in
alternating order. At the start of a segment the batches that the workers made during other
segments are thrown away, and the first steps do not count. Loaders have one worker unless stated.
Steps with the R1 penalty (every 16th) are left out of the medians and reported apart. Ratios
compare segments of one round. Peak memory is taken per step in a run of its own: allocated tensors
on CUDA; on CPU resident pages of the training process (not of its workers) with an allocator that
returns freed blocks at once.

Target: FlowConsistencyLoss with flow from the workers costs at most 15 % wall time.

    python -m benchmarks.training_cost [--quick] [--preset fdf128] [--device cuda]
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import warnings
from pathlib import Path
from statistics import median
from typing import Any

import cv2
from pytorch_lightning import Trainer, seed_everything

from benchmarks.common import (
    RESULTS,
    Row,
    add_draft,
    markdown_table,
    metadata,
    summary,
    write_results,
)
from benchmarks.terms import BASE, FLOW, QUICK, all_alternatives
from benchmarks.turns import Clock, Segments, Step
from dp3_lightning.data import VideoClipDataModule
from dp3_lightning.discriminators import DiscriminatorAdapter
from dp3_lightning.generators import StyleGANUnetAdapter
from dp3_lightning.metrics import median_interval
from dp3_lightning.modules import VideoFineTuner

TARGET = 1.15


def data_module(
    options: argparse.Namespace, size: tuple[int, int], flow: bool
) -> VideoClipDataModule:
    module = VideoClipDataModule(
        options.source, clip_length=options.clip_length, image_size=size,
        batch_size=options.batch_size, num_workers=options.workers, flow=flow,
        split_by="time", val_fraction=0.2,
    )  # fmt: skip
    module.prepare_data()
    module.setup()
    return module


def train(options: argparse.Namespace, memory: bool) -> list[Step]:
    """Train in turns through the real Trainer."""
    seed_everything(0, verbose=False)
    generator = StyleGANUnetAdapter(options.preset)
    # A tiny learning rate: all alternatives meet networks in the same state.
    tuner = VideoFineTuner(generator, DiscriminatorAdapter(options.preset), generator_lr=1e-6)
    cv2_threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # a pool of OpenCV does not survive being forked
    modules = {flow: data_module(options, generator.image_size, flow) for flow in (False, True)}
    chosen = {k: v for k, v in all_alternatives().items() if not options.quick or k in QUICK}
    loaders = {flow: module.train_dataloader() for flow, module in modules.items()}
    turns = 2 if memory else options.repeats + 1
    segments = Segments(chosen, loaders, turns, 2 if memory else options.warmup + options.steps)
    cv2.setNumThreads(cv2_threads)  # the workers run; flow in the step gets OpenCV's default
    clock = Clock(segments, options.device, memory)
    accelerator = "gpu" if options.device.startswith("cuda") else "cpu"
    trainer = Trainer(
        max_steps=len(segments), accelerator=accelerator, devices=1, precision=options.precision,
        callbacks=[clock], logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, limit_val_batches=0,
    )  # fmt: skip
    trainer.fit(tuner, segments)  # Lightning takes any iterable of batches
    return clock.steps


def peak_memory() -> dict[str, float]:
    """Run this script once more for memory alone; peak MiB by alternative, R1 steps apart."""
    # glibc: every block above 64 KiB is a mapping of its own and goes back when it is freed.
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}
    command = [sys.executable, "-m", "benchmarks.training_cost", *sys.argv[1:], "--memory-pass"]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        print("Memory is left out: the run for it failed, see above.", file=sys.stderr)
        return {}
    peaks: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return peaks


def memory_pass(options: argparse.Namespace) -> None:
    steps = [s for s in train(options, memory=True) if s.turn > 0]
    peaks: dict[str, float] = {}
    for step in steps:
        name = "R1" if step.lazy else step.name
        peaks[name] = max(peaks.get(name, 0.0), step.memory or 0.0)
    print("\n" + json.dumps(peaks))


def cost_verdict(steps: list[Step], warmup: int) -> Row:
    """Whether the flow term costs no more than it may: the whole interval over rounds says so."""
    typical = typical_seconds(steps, warmup)
    ratios = [typical[FLOW][turn] / typical[BASE][turn] for turn in typical[FLOW]]
    found = median_interval(ratios)
    interval = "" if math.isinf(found.high) else f" ({found.low:.3g} to {found.high:.3g})"
    return {
        "target": f"{FLOW}: at most {TARGET} of the adversarial step",
        "measured": f"{found.middle:.3g}{interval}, {found.n_groups} rounds",
        "met": found.at_most(TARGET),
    }


def typical_seconds(steps: list[Step], warmup: int) -> dict[str, dict[int, float]]:
    """Median seconds of a plain step, by alternative and round."""
    plain = [s for s in steps if s.turn > 0 and not s.lazy and s.place >= warmup]
    return {
        name: {t: median([s.seconds for s in plain if (s.name, s.turn) == (name, t)])
               for t in sorted({s.turn for s in plain})}
        for name in all_alternatives()
        if any(s.name == name for s in plain)
    }  # fmt: skip


def summarize(steps: list[Step], peaks: dict[str, float], warmup: int) -> list[Row]:
    """One row per alternative, and one for the R1 penalty."""
    counted = [s for s in steps if s.turn > 0]
    plain = [s for s in counted if not s.lazy and s.place >= warmup]
    typical = typical_seconds(steps, warmup)
    rows: list[Row] = []
    for name, per_turn in typical.items():
        ratios = [per_turn[t] / typical[BASE][t] for t in per_turn]
        rows.append(_row(name, [s for s in plain if s.name == name], ratios, peaks.get(name)))
    lazy = [s for s in counted if s.lazy]
    if lazy:
        ratios = [s.seconds / typical[s.name][s.turn] for s in lazy]
        rows.append(_row("a step with R1, of its own kind without", lazy, ratios, peaks.get("R1")))
    return rows


def _row(name: str, steps: list[Step], ratios: list[float], peak: float | None) -> Row:
    return {
        "alternative": name,
        "ms per step": summary([1e3 * s.seconds for s in steps]),
        "of it waiting, ms": median([1e3 * s.wait for s in steps]),
        "of the adversarial step": summary(ratios),
        "peak MiB": peak,
    }


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--quick", action="store_true", help="smoke run: three alternatives, one round"
    )
    parser.add_argument("--output", type=Path, default=None, help="JSON file to write")
    parser.add_argument(
        "--preset", default=None, help="of both networks; default small64, quick tiny32"
    )
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--precision", default="32-true", help="as in Trainer")
    parser.add_argument("--source", default="carphone")
    parser.add_argument("--clip-length", type=int, default=4)
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=None, help="rounds; default 10, quick 1")
    parser.add_argument(
        "--warmup", type=int, default=3, help="first steps of a segment, not counted"
    )
    parser.add_argument(
        "--steps", type=int, default=None, help="steps that count; default 6, quick 3"
    )
    parser.add_argument("--memory-pass", action="store_true", help=argparse.SUPPRESS)
    add_draft(parser)
    options = parser.parse_args()
    options.repeats = options.repeats or (1 if options.quick else 10)
    options.steps = options.steps or (3 if options.quick else 6)
    options.preset = options.preset or ("tiny32" if options.quick else "small64")
    name = f"training_cost-{options.preset}--{options.device.split(':')[0]}.json"
    options.output = options.output or RESULTS / name
    return options


def main() -> None:
    warnings.filterwarnings("ignore", category=UserWarning)
    options = parse()
    if options.memory_pass:
        memory_pass(options)
        return
    description = metadata(options.device, options.draft)
    peaks = peak_memory()
    steps = train(options, memory=False)
    rows, verdict = summarize(steps, peaks, options.warmup), cost_verdict(steps, options.warmup)
    left_out = ("output", "memory_pass")
    settings: dict[str, Any] = {k: v for k, v in vars(options).items() if k not in left_out}
    results = {"rows": rows, "targets": [verdict]}
    print(markdown_table(rows), markdown_table([verdict]), sep="\n\n")
    write_results(
        options.output, {"metadata": description, "settings": settings, "results": results}
    )


if __name__ == "__main__":
    main()
