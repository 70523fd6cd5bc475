"""The proposal's comparison: its GAN without and with TV and pixel terms, beside a baseline.

Method. Frames of four sample clips, one still each; the first two thirds of every clip train, the
last third is scored (no frame is in both). One run per choice of terms, same updates, same seed.
Scored on the held-out stills: inside the hole PSNR and SSIM (leak proxies for an anonymizer, the
proposal's quality figures) and total variation of the original's; of whole crops the kernel
distance of features (KID where Inception is at hand, else MobileNetV2's under its own name),
verification (share that the recogniser takes for the person; dlib, or DeepFace as the proposal
names it), and the AUC of a detector of fakes, tested on each clip, trained on the others. The
baseline is any generator that `load_generator` takes, DeepPrivacy2's weights among them. What is
trained is not trained again.

    python -m benchmarks.paper.compare --work FOLDER [--updates 300] [--baseline CHECKPOINT]
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import yaml
from torch import Tensor
from torchmetrics.functional.image import (
    peak_signal_noise_ratio,
    structural_similarity_index_measure,
)

from benchmarks.common import RESULTS, Row, add_draft, metadata, publish
from benchmarks.ladder_recipe import cut_clips
from dp3_lightning.anonymize import Drawing
from dp3_lightning.data import VideoClipDataModule
from dp3_lightning.evaluation import Tools
from dp3_lightning.evaluation.rendering import render
from dp3_lightning.generators import GeneratorAdapter, composite, load_generator
from dp3_lightning.metrics import (
    kernel_distance,
    kernel_distance_interval,
    paired_change,
    total_variation,
    two_sample_auc,
)
from dp3_lightning.modules import PaperGAN
from dp3_lightning.structures import FloatArray
from dp3_lightning.studies.training_runs import fit_once

HERE = Path(__file__).parent
WAYS = {"GAN": (), "GAN, TV": ("tv",), "GAN, MSE": ("mse",), "GAN, TV and MAE": ("tv", "mae")}


def config_of(terms: Sequence[str], updates: int, source: Path) -> dict[str, Any]:
    """The short configuration with terms, for so many updates."""
    config: dict[str, Any] = yaml.safe_load((HERE / "gan_short.yaml").read_text())
    trainer, data = config["trainer"], config["data"]["init_args"]
    trainer |= {
        "accelerator": "cpu", "max_steps": updates, "logger": False, "limit_val_batches": 0,
        "enable_progress_bar": False, "callbacks": [],
    }  # fmt: skip
    trainer.pop("val_check_interval")
    for term in terms:
        added = yaml.safe_load((HERE / f"term_{term}.yaml").read_text())
        trainer["callbacks"] += added["trainer"]["callbacks+"]
    data |= {"source": str(source), "val_fraction": 0.1}
    return config


def stills(folder: Path, size: int) -> list[dict[str, Any]]:
    """Held-out stills, as batches of the data module."""
    module = VideoClipDataModule(
        str(folder), clip_length=1, image_size=size, batch_size=16, flow=False, hole_jitter="none",
        split_by="time", val_fraction=0.98, max_eval_clips=160,
    )  # fmt: skip
    module.prepare_data()
    module.setup("validate")
    return list(module.val_dataloader())


@torch.no_grad()
def drawn(generator: GeneratorAdapter, batches: Sequence[Mapping[str, Any]]) -> Tensor:
    """Anonymized stills ``(N, 3, H, W)``, a latent of their own each."""
    torch.manual_seed(0)
    found = []
    for batch in batches:
        clip, keep = batch["clip"], batch["keep_mask"]
        raw = generator(clip * keep, keep, torch.randn(len(clip), generator.z_dim))
        found.append(composite(clip, keep, raw).clamp(-1, 1)[:, 0])
    return torch.cat(found)


@dataclass(frozen=True)
class Scored:
    """Figures of one way.

    Attributes:
        values: over all stills.
        singles: figure to its value per still, for comparing ways still by still.
        clips: whose face each still shows.
    """

    values: dict[str, float | None]
    singles: dict[str, list[float]]
    clips: Sequence[str]


def score(made: Tensor, real: Tensor, keep: Tensor, clips: Sequence[str], tools: Tools) -> Scored:
    """All figures of one way; ``(N, 3, H, W)``, masks ``(N, 1, H, W)``, and N clips' names."""
    hole = 1 - keep
    boxes = [_box(mask[0]) for mask in hole]
    pairs = [
        (a[None, :, y0:y1, x0:x1], b[None, :, y0:y1, x0:x1])
        for a, b, (x0, y0, x1, y1) in zip(made, real, boxes, strict=True)
    ]
    stills = range(len(made))
    singles = {
        "PSNR": [float(peak_signal_noise_ratio(a, b, 2.0)) for a, b in pairs],
        "SSIM": [_ssim(a, b) for a, b in pairs],
        "total variation": [
            total_variation(made[i : i + 1], hole[i : i + 1])
            / total_variation(real[i : i + 1], hole[i : i + 1])
            for i in stills
        ],
    }
    values: dict[str, float | None] = {k: float(np.mean(v)) for k, v in singles.items()}
    if tools.features is not None:
        rows = [tools.features.of(torch.split(part, 32)) for part in (made, real)]
        low, high = kernel_distance_interval(rows[0], rows[1])
        values[tools.features.kernel] = kernel_distance(*rows)
        values |= {f"{tools.features.kernel}, low": low, f"{tools.features.kernel}, high": high}
        values["detectability, AUC"] = _detectability(rows[0], rows[1], np.array(clips))
    if tools.embedder is not None:
        gaps = [_gap(a, b, box, tools) for a, b, box in zip(made, real, boxes, strict=True)]
        known = [gap < tools.embedder.threshold for gap in gaps if gap is not None]
        values["verified as the person"] = float(np.mean(known)) if known else None
        singles["verified as the person"] = [
            math.nan if gap is None else float(gap < tools.embedder.threshold) for gap in gaps
        ]
    return Scored(values, singles, clips)


def _detectability(made: FloatArray, real: FloatArray, clips: np.ndarray) -> float:
    """Mean over clips of the AUC of a detector that was trained on the other clips."""
    rates = [
        two_sample_auc(real[clips != c], made[clips != c], real[clips == c], made[clips == c])
        for c in np.unique(clips)
    ]
    return float(np.mean(rates))


def _ssim(first: Tensor, second: Tensor) -> float:
    value = structural_similarity_index_measure(first, second, data_range=2.0)
    assert isinstance(value, Tensor)
    return float(value)


def _box(hole: Tensor) -> tuple[int, int, int, int]:
    seen = torch.nonzero(hole)
    (y0, x0), (y1, x1) = seen.amin(0).tolist(), (seen.amax(0) + 1).tolist()
    return x0, y0, x1, y1


def _levels(picture: Tensor) -> np.ndarray:
    levels: np.ndarray = ((picture + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
    return np.ascontiguousarray(levels)


def _gap(made: Tensor, real: Tensor, box: tuple[int, ...], tools: Tools) -> float | None:
    assert tools.embedder is not None
    rows = [tools.embedder(_levels(picture), box) for picture in (made, real)]
    if rows[0] is None or rows[1] is None:
        return None
    return float(np.linalg.norm(rows[0] - rows[1]))


def write_grid(path: Path, rows: Mapping[str, Tensor], columns: int = 8) -> None:
    """Write a picture of all ways below each other, the same faces in a column."""
    lines = []
    for name, pictures in rows.items():
        chosen = np.linspace(0, len(pictures) - 1, columns).astype(int)
        line = np.concatenate([_levels(pictures[i]) for i in chosen], axis=1)
        title = np.full((18, line.shape[1], 3), 255, np.uint8)
        cv2.putText(title, name, (4, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA)
        lines += [title, line]
    cv2.imwrite(str(path), np.concatenate(lines)[..., ::-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="folder that is gone on with")
    parser.add_argument("--updates", type=int, default=300)
    parser.add_argument("--baseline", help="generator to compare with: name or file")
    parser.add_argument("--show-original", action="store_true", help="real faces in the picture")
    parser.add_argument("--output", type=Path, default=RESULTS / "paper_compare--cpu.json")
    add_draft(parser)
    options = parser.parse_args()
    before = metadata("cpu", options.draft)
    train, scored = cut_clips(options.work)
    generators: dict[str, GeneratorAdapter] = {}
    if options.baseline:
        generators["baseline"] = load_generator(options.baseline).eval()
    for way, terms in WAYS.items():
        config = config_of(terms, options.updates, train)
        folder = options.work / "gans" / ("-".join(terms) or "plain")
        module = PaperGAN.load_from_checkpoint(fit_once(folder, config), map_location="cpu")
        generators[way] = module.generator.eval()
    tools = Tools.at_hand()
    rows: list[Row] = []
    ways: dict[str, Scored] = {}
    shown: dict[str, Tensor] = {}
    for way, generator in generators.items():
        batches = stills(scored["speech"].parent, generator.image_size[0])
        real, keep = (torch.cat([b[k][:, 0] for b in batches]) for k in ("clip", "keep_mask"))
        made = drawn(generator, batches)
        clips = [name for batch in batches for name in batch["source"]]
        ways[way] = score(made, real, keep, clips, tools)
        rows.append({"way": way, "stills": len(made), **ways[way].values})
        small = torch.nn.functional.interpolate(made, (128, 128), mode="area")
        shown[way] = small
        if options.show_original:
            shown.setdefault("original", torch.nn.functional.interpolate(real, (128, 128)))
        video = options.work / f"{way.replace(', ', '-').replace(' ', '-')}.mp4"
        drawing = Drawing.prepare(generator)
        # Nothing is pulled to the middle: the proposal's generator knows no average style.
        render(scored["smile"], video, drawing, options.work / "detections", "dp2", truncation=1.0)
    write_grid(options.work / "side_by_side.png", shown)
    settings = {"updates": options.updates, "stills": json.dumps("frames of four sample clips")}
    publish(options.output, before, settings, rows, verdicts(ways), single_pairs(ways))
    print(f"to look at: {options.work / 'side_by_side.png'} and videos beside it")


def verdicts(ways: Mapping[str, Scored]) -> list[Row]:
    """What the proposal expects of its terms: better pictures, and no less privacy.

    Compared still by still; met when the interval over faces (one per clip) says so.
    """
    expected = [
        ("GAN, TV", "total variation", "lower"),
        ("GAN, MSE", "PSNR", "higher"),
        ("GAN, MSE", "SSIM", "higher"),
        ("GAN, TV and MAE", "PSNR", "higher"),
        *((way, "verified as the person", "not higher") for way in WAYS if way != "GAN"),
    ]
    found: list[Row] = []
    for way, figure, rule in expected:
        row: Row = {"target": f"{way}: {figure} {rule} than without"}
        ours, theirs = ways[way].singles.get(figure), ways["GAN"].singles.get(figure)
        if ours is None or theirs is None:
            found.append(row | {"measured": "not measured", "met": None})
            continue
        pair = paired_change(ours, theirs, ways[way].clips, relative=False)
        change = pair.change
        told = math.isfinite(change.high)
        met = (
            {
                "higher": change.low > 0,
                "lower": change.high < 0,
                "not higher": change.high <= 0,
            }[rule]
            if told
            else None
        )
        interval = f" ({change.low:.3g} to {change.high:.3g})" if met is not None else ""
        row["measured"] = (
            f"{change.middle:+.3g}{interval}, {pair.lower} of {len(pair.pairs)} stills lower, "
            f"{change.n_groups} faces"
        )
        found.append(row | {"met": met})
    return found


def single_pairs(ways: Mapping[str, Scored]) -> list[Row]:
    """Every value that ways are compared by, still by still."""
    return [
        {"way": way, "figure": figure, "clip": clip, "value": value}
        for way, scored in ways.items()
        for figure, values in scored.singles.items()
        for clip, value in zip(scored.clips, values, strict=True)
        if math.isfinite(value)
    ]


if __name__ == "__main__":
    main()
