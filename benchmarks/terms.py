"""The alternatives of training_cost.py."""

from __future__ import annotations

from pathlib import Path

import yaml
from pytorch_lightning import Callback

from benchmarks.turns import Alternative
from dp3_lightning import callbacks
from dp3_lightning.callbacks.base import LossCallback
from dp3_lightning.losses.pixel import PixelMode

BASE, FLOW, ALL = (
    "adversarial step alone",
    "FlowConsistencyLoss, flow from workers",
    "quickstart.yaml's terms",
)
QUICK = (BASE, FLOW, ALL)
QUICKSTART = Path(__file__).parents[1] / "configs" / "small_generator.yaml"


def quickstart_terms() -> list[Callback]:
    """The loss callbacks of small_generator.yaml with their arguments."""
    terms: list[Callback] = []
    for entry in yaml.safe_load(QUICKSTART.read_text(encoding="utf-8"))["trainer"]["callbacks"]:
        kind = getattr(callbacks, entry["class_path"], None)
        if isinstance(kind, type) and issubclass(kind, LossCallback):
            terms.append(kind(**entry.get("init_args", {})))
    return terms


def all_alternatives() -> dict[str, Alternative]:
    modes: tuple[PixelMode, ...] = ("ring", "ring+low", "full")
    pixel = {f"PixelLoss, {mode}": Alternative([callbacks.PixelLoss(mode=mode)]) for mode in modes}
    return {
        BASE: Alternative([]),
        "the same, flow measured but not used": Alternative([], flow=True),
        "TotalVariationLoss": Alternative([callbacks.TotalVariationLoss()]),
        "TemporalVariationLoss, flow from workers": Alternative(
            [callbacks.TemporalVariationLoss()], flow=True
        ),
        **pixel,
        FLOW: Alternative([callbacks.FlowConsistencyLoss()], flow=True),
        "FlowConsistencyLoss, flow measured in the step": Alternative(
            [callbacks.FlowConsistencyLoss()]
        ),
        "LatentDiversityLoss": Alternative([callbacks.LatentDiversityLoss()]),
        "CropConsistencyLoss": Alternative([callbacks.CropConsistencyLoss()]),
        "PerceptualLoss, mobilenet_v2": Alternative([callbacks.PerceptualLoss(net="mobilenet_v2")]),
        ALL: Alternative(quickstart_terms(), flow=True),
    }
