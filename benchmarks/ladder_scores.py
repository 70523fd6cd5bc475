"""The rungs of `temporal_stability.py`: how each renders a clip, and what the result scores."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from benchmarks.ladder_recipe import VARIANTS
from dp3_lightning import __version__
from dp3_lightning.anonymize import Drawing
from dp3_lightning.evaluation import Tools, evaluate_pair
from dp3_lightning.evaluation.rendering import detected_plan, render
from dp3_lightning.generators import GeneratorAdapter

Scores = dict[str, float]  # a face's figures


@dataclass(frozen=True)
class Rung:
    """One way to anonymize.

    Attributes:
        what: in a sentence.
        generator: ``base``, a variant of the recipe, a treatment, or empty for the original.
        compat: draw as DeepPrivacy2 does.
        truncation: of the latents.
        tracked: one latent per person; else a new one for every face of every frame.
    """

    what: str
    generator: str
    compat: bool = True
    truncation: float = 0.5
    tracked: bool = True

    @property
    def seeded(self) -> bool:
        """Whether another seed gives another output."""
        return self.generator in VARIANTS or (self.generator == "base" and self.truncation > 0)


RUNGS = {
    "original": Rung("nothing is changed", ""),
    "blur": Rung("", "blur", compat=False),
    "pixelate": Rung("", "pixelate", compat=False),
    "solid": Rung("constant colour: what the surroundings tell", "solid", compat=False),
    "B0": Rung("DP2's default, truncation 0", "base", truncation=0.0),
    "B1": Rung("truncation 1, untracked", "base", truncation=1.0, tracked=False),
    "B2": Rung("tracked, truncation 0.5", "base"),
    "B3": Rung("B2 with our inference", "base", compat=False),
    "B4_0": Rung("fine-tuned with nothing added", "none"),
    "B4": Rung("fine-tuned with all of them", "all"),
    "B5": Rung("B4 with our inference", "all", compat=False),
    "B4, no TV": Rung("fine-tuned without TV", "no tv"),
    "B4, no pixel": Rung("fine-tuned without pixel", "no pixel"),
    "B4, no flow": Rung("fine-tuned without flow", "no flow"),
    "B4, no crop": Rung("fine-tuned without crop consistency", "no crop"),
}


class FreshLatents(GeneratorAdapter):
    """Draws every face with a latent of its own, as DeepPrivacy2 does without ``--track``."""

    z_dim = 0  # nobody has a style that lasts

    def __init__(self, generator: GeneratorAdapter, seed: int) -> None:
        super().__init__()
        self.generator, self.image_size = generator, generator.image_size
        self.source = torch.Generator().manual_seed(seed)

    def draw(
        self,
        condition: Tensor,
        keep_mask: Tensor,
        w: Tensor | None,
        conditions: Mapping[str, Tensor],
    ) -> Tensor:
        """Draw ``(N, 3, H, W)``; ``w`` is not looked at."""
        z = torch.randn(len(condition), self.generator.z_dim, generator=self.source)
        style = self.generator.map_latents(z)
        return self.generator.draw(condition, keep_mask, style, conditions)


class Remembered:
    """Answers of a detector or recogniser that were asked before, above all about originals."""

    def __init__(self, asked: Any) -> None:
        self.asked, self.name = asked, asked.name
        self.threshold = getattr(asked, "threshold", math.nan)
        self._answers: dict[str, Any] = {}

    def __call__(self, seen: Any, *box: Sequence[float]) -> Any:
        """Ask about one frame and box, or a list of one frame."""
        frame = seen[0] if isinstance(seen, list) else seen
        key = hashlib.sha256(frame.tobytes() + repr(box).encode()).hexdigest()
        if key not in self._answers:
            self._answers[key] = self.asked(seen, *box)
        return self._answers[key]


class Scorer:
    """Renders and scores, and remembers both in files.

    Args:
        folder: of outputs and scores.
        checkpoints: ``(generator of a rung, seed)`` to checkpoint file.
    """

    def __init__(self, folder: Path, checkpoints: Mapping[tuple[str, int], Path]) -> None:
        self.folder, self.checkpoints = folder, checkpoints
        self.tools = Tools.at_hand()
        for name in ("detector", "embedder"):
            if getattr(self.tools, name) is not None:
                setattr(self.tools, name, Remembered(getattr(self.tools, name)))
        (folder / "scores").mkdir(parents=True, exist_ok=True)

    def score(self, how: Rung, seed: int, name: str, source: Path) -> list[Scores]:
        """Return the figures of every face of a clip; ``name`` tells the result from others."""
        weights = self.checkpoints.get((how.generator, seed))
        key = json.dumps(
            [how.generator, how.compat, how.truncation, how.tracked, _digest(source)]
            + ([_digest(weights)] if weights else [])
            + [self.tools.describe(), __version__]
        )
        stem = f"{name}-{seed}".replace(" ", "").replace(",", "-")
        file = self.folder / "scores" / f"{stem}.json"
        if file.is_file() and (known := json.loads(file.read_text()))["key"] == key:
            return [
                {k: math.nan if v is None else v for k, v in face.items()}
                for face in known["faces"]
            ]
        output = self._render(how, weights, seed, source, stem)
        plan = detected_plan(source, self.folder / "detections")
        faces = [face.values for face in evaluate_pair(source, output, plan, self.tools)]
        plain = [{k: v if math.isfinite(v) else None for k, v in f.items()} for f in faces]
        file.write_text(json.dumps({"key": key, "faces": plain}))
        return faces

    def _render(self, how: Rung, weights: Path | None, seed: int, source: Path, stem: str) -> Path:
        if not how.generator:
            return source
        drawing = Drawing.prepare(weights or how.generator)
        if not how.tracked and drawing.generator is not None:
            drawing = Drawing(FreshLatents(drawing.generator, seed), drawing.name, drawing.sha256)
        output = self.folder / f"{stem}.mp4"
        compat: Literal["dp2", "none"] = "dp2" if how.compat else "none"
        render(source, output, drawing, self.folder / "detections", compat, how.truncation, seed)
        return output


def _digest(path: Path | None) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path else ""
