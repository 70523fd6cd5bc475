"""Time per image of the native generator against DeepPrivacy2's own.

Question: what do the fast form, lower precision and the allocator hints of the command line bring?

Method: one process per alternative (allocator settings and peak memory belong to a process), all
alive at the same time and called in turns, with the same random weights and the same pictures.
Ratios are taken within a round. The output of every alternative is compared with the baseline's.
The baseline is DeepPrivacy2 when ``dp2.generator`` can be imported (see README); otherwise the
native training form, and DeepPrivacy2's row is the stored one of another run, marked as such.

    python -m benchmarks.generator_speed [--preset fdf128] [--batch 1] [--quick]
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import RESULTS, Row, add_draft, in_turns, markdown_table, metadata, summary
from benchmarks.common import write_results as write
from dp3_lightning.generators import StyleGANUnet

PEAK_LEVELS = 2.0  # of pictures in [-1, 1]


class Worker:
    """A process with one alternative.

    Args:
        task: see ``generator_worker.py``.
    """

    def __init__(self, task: dict[str, Any]) -> None:
        self.task = task
        command = [sys.executable, "-m", "benchmarks.generator_worker", json.dumps(task)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("{"):
                answer: dict[str, Any] = json.loads(line)
                return answer
        raise RuntimeError(f"The worker for {self.task['kind']} {self.task['form']} died.")

    def _say(self, word: str) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()
        return self._answer()

    def draw(self, number: int) -> None:
        """One batch."""
        del number
        self._say("draw")

    def stop(self) -> float:
        """End the process; returns its peak memory in MiB."""
        peak = float(self._say("stop")["peak_mib"])
        self.process.wait()
        return peak


def alternatives(options: argparse.Namespace, with_upstream: bool) -> dict[str, dict[str, Any]]:
    """Tasks by name; the first is the baseline."""
    on_cpu = options.device == "cpu"
    low = "bfloat16" if on_cpu else "float16"
    chosen: dict[str, tuple[str, str, bool]] = {}
    if with_upstream:
        chosen["DeepPrivacy2"] = ("upstream", "float32", False)
        if on_cpu:
            chosen["DeepPrivacy2, allocator hints"] = ("upstream", "float32", True)
        else:
            chosen = {"DeepPrivacy2, its fp16": ("upstream", "float16", False)}
    chosen["native, training form"] = ("native", "training form", False)
    chosen["native, fast"] = ("native", "float32", False)
    if on_cpu:
        chosen["native, fast, allocator hints"] = ("native", "float32", True)
    chosen[f"native, fast, {low}" + (", allocator hints" if on_cpu else "")] = (
        "native",
        low,
        on_cpu,
    )
    common = {k: getattr(options, k) for k in ("preset", "batch", "threads", "device")}
    return {
        name: common | {"kind": kind, "form": form, "keep_memory": keep}
        for name, (kind, form, keep) in chosen.items()
    }


def measure(options: argparse.Namespace, with_upstream: bool) -> list[Row]:
    """Time all alternatives in turns and compare what they draw."""
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "weights.pt"
        torch.manual_seed(0)
        torch.save(StyleGANUnet.from_preset(options.preset).state_dict(), weights)
        workers = {}
        for number, (name, task) in enumerate(alternatives(options, with_upstream).items()):
            output = str(Path(folder) / f"{number}.pt")
            workers[name] = Worker(task | {"weights": str(weights), "output": output})
        seconds = in_turns({k: w.draw for k, w in workers.items()}, options.repeats)
        peaks = {name: worker.stop() for name, worker in workers.items()}
        images = {k: torch.load(w.task["output"], weights_only=True) for k, w in workers.items()}
    baseline = next(iter(workers))
    rows = []
    for name, values in seconds.items():
        difference = images[name] - images[baseline]
        error = difference.square().mean().item()
        ratios = [b / v for b, v in zip(seconds[baseline], values, strict=True)]
        rows.append({
            "alternative": name,
            "ms per image": summary([1000 * v / options.batch for v in values]),
            f"times as fast as {baseline}": summary(ratios),
            "largest difference": difference.abs().max().item(),
            "PSNR, dB": 10 * math.log10(PEAK_LEVELS**2 / error) if error else None,
            "peak MiB": peaks[name],
        })  # fmt: skip
    return rows


def verdicts(rows: list[Row], options: argparse.Namespace) -> list[Row]:
    """Compare with the targets that apply to this preset, batch and device."""
    ratio = list(rows[0])[2]
    by_name = {row["alternative"]: row for row in rows}
    if options.device != "cpu" or "DeepPrivacy2" not in by_name:
        return [{"target": "none applies to this run", "measured": None, "met": None}]
    fast, hints = by_name["native, fast"], by_name["native, fast, allocator hints"]
    low = by_name["native, fast, bfloat16, allocator hints"]
    limit = {"fdf128": 1.15, "fdf256": 1.3}.get(options.preset)
    found: list[tuple[str, float, bool]] = []
    if options.batch == 1 and limit is not None:
        speed = fast[ratio]["median"]
        found.append((f"float32, same allocator: at least {limit} x", speed, speed >= limit))
    if options.batch > 1:
        speed = hints[ratio]["median"]
        found.append(("float32, each as its user starts it: at least 2 x", speed, speed >= 2))
    if options.batch == 1:
        speed = low[ratio]["median"]
        found.append(("bfloat16: at least 2.2 x", speed, speed >= 2.2))
    found.append(("bfloat16: PSNR at least 45 dB", low["PSNR, dB"], low["PSNR, dB"] >= 45))
    worst = max(r["largest difference"] for r in (fast, hints))
    found.append(("float32: difference at most 1e-4", worst, worst <= 1e-4))
    for own, theirs in ((fast, "DeepPrivacy2"), (hints, "DeepPrivacy2, allocator hints")):
        share = own["peak MiB"] / by_name[theirs]["peak MiB"]
        found.append((f"memory of '{own['alternative']}' over '{theirs}': <= 1", share, share <= 1))
    return [{"target": t, "measured": m, "met": ok} for t, m, ok in found]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="smoke run: small64, two rounds")
    parser.add_argument("--preset", default=None, help="default fdf128, quick small64")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--repeats", type=int, default=None, help="rounds; default 9, quick 2")
    parser.add_argument("--output", type=Path, default=None, help="JSON file to write")
    add_draft(parser)
    options = parser.parse_args()
    options.preset = options.preset or ("small64" if options.quick else "fdf128")
    options.repeats = options.repeats or (2 if options.quick else 9)
    name = f"generator_speed-{options.preset}-batch{options.batch}--{options.device}.json"
    options.output = options.output or RESULTS / name
    return options


def main() -> None:
    options = parse()
    description = metadata(options.device, options.draft)
    with_upstream = importlib.util.find_spec("dp2") is not None
    rows = measure(options, with_upstream)
    results = {"rows": rows, "targets": verdicts(rows, options)}
    settings = {k: v for k, v in vars(options).items() if k not in ("output", "quick")}
    print(markdown_table(rows), markdown_table(results["targets"]), sep="\n\n")
    if with_upstream:
        write(options.output, {"metadata": description, "settings": settings, "results": results})
        return
    print("\nDeepPrivacy2 cannot be imported here, so nothing was written.")
    if options.output.is_file():
        stored = json.loads(options.output.read_text(encoding="utf-8"))
        print(f"Stored figures of another run ({stored['metadata']['date'][:10]}, "
              f"{stored['metadata']['cpu']}):\n")  # fmt: skip
        print(markdown_table(stored["results"]["rows"]))


if __name__ == "__main__":
    main()
