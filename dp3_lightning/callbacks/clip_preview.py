"""Write pictures and videos of generated clips during training."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import rank_zero_info
from torch import Tensor

from dp3_lightning.checks import check_at_least
from dp3_lightning.structures import UInt8Array
from dp3_lightning.video import write_video

LABEL_WIDTH = 132


def to_uint8(frames: Tensor) -> UInt8Array:
    """Convert ``(..., 3, H, W)`` in [-1, 1] to ``(..., H, W, 3)`` uint8."""
    levels = ((frames.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    array: UInt8Array = levels.movedim(-3, -1).cpu().numpy()
    return array


def _label(text: str, height: int) -> UInt8Array:
    strip = np.full((height, LABEL_WIDTH, 3), 24, dtype=np.uint8)
    for line, word in enumerate(text.split("\n")):
        position = (6, height // 2 + 16 * line)
        color = (235, 235, 235)
        cv2.putText(strip, word, position, cv2.FONT_HERSHEY_SIMPLEX, 0.42, color, 1, cv2.LINE_AA)
    return strip


class ClipPreview(Callback):
    """Write a PNG strip and an MP4 of the same held-out clips at every validation.

    Rows: condition (what the generator sees), generated at the first validation of this run,
    generated now, and the real frames only when asked for. Files go to
    ``<default_root_dir>/previews``. During ``predict`` every clip is written as an MP4 to
    ``<default_root_dir>/predictions``.

    Detected faces of further people in the picture are greyed out, unless originals are asked for.
    Everything outside the boxes (hair, clothes, the room) is real in every row.

    Args:
        n_clips: number of clips, taken from the first validation batch.
        show_original: also show the real frames. False by default: previews are shared, and the
            people in them did not agree to that.
        scale: enlargement, for small crops.
        frame_rate: of the previews, in frames per second; predictions have that of their video.
    """

    def __init__(
        self, n_clips: int = 2, show_original: bool = False, scale: int = 1, frame_rate: int = 12
    ) -> None:
        super().__init__()
        check_at_least(1, n_clips=n_clips, scale=scale, frame_rate=frame_rate)
        self.n_clips, self.show_original = n_clips, show_original
        self.scale, self.frame_rate = scale, frame_rate
        self._before: tuple[int, UInt8Array] | None = None
        self.paths: list[Path] = []

    @torch.no_grad()
    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: dict[str, Any],
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Draw the clips of the first batch, on rank zero."""
        if batch_idx or dataloader_idx or not trainer.is_global_zero:
            return
        fitting = trainer.state.fn == TrainerFn.FITTING
        drawn = self._visible(pl_module.predict_step(batch, 0)["fake"], batch)[: self.n_clips]
        step = trainer.global_step
        if self._before is None:
            self._before = (step, drawn)
        condition = self._visible(batch["clip"] * batch["keep_mask"], batch)
        rows = {"condition": condition[: self.n_clips]}
        rows[f"generated,\nupdate {self._before[0]}" if fitting else "generated"] = self._before[1]
        if step != self._before[0]:
            rows[f"generated,\nupdate {step}"] = drawn
        if self.show_original:
            rows["real"] = to_uint8(batch["clip"][: self.n_clips])
        folder = Path(trainer.default_root_dir) / "previews"
        # `validate` knows no update number, and must not replace the pictures of the run.
        self.paths = self._write(rows, folder / (f"update-{step:06d}" if fitting else "validation"))

    def _visible(self, frames: Tensor, batch: dict[str, Any]) -> UInt8Array:
        """Return frames as uint8, with other people's real faces hidden."""
        if not self.show_original and "other_faces" in batch:
            others = batch["other_faces"].bool() & (batch["keep_mask"] > 0)
            frames = frames.masked_fill(others, 0.0)
        return to_uint8(frames)

    def _write(self, rows: dict[str, UInt8Array], stem: Path) -> list[Path]:
        stem.parent.mkdir(parents=True, exist_ok=True)
        enlarged = {
            label: clips.repeat(self.scale, axis=2).repeat(self.scale, axis=3)
            for label, clips in rows.items()
        }
        height = next(iter(enlarged.values())).shape[2]
        labels = {label: _label(label, height) for label in enlarged}
        strips = [
            np.concatenate([labels[label], *clips[clip]], axis=1)
            for clip in range(len(next(iter(enlarged.values()))))
            for label, clips in enlarged.items()
        ]
        picture = np.concatenate(strips, axis=0)
        png, mp4 = stem.with_suffix(".png"), stem.with_suffix(".mp4")
        # Encoded in memory: OpenCV's file names are not Unicode-safe everywhere.
        png.write_bytes(cv2.imencode(".png", np.ascontiguousarray(picture[..., ::-1]))[1].tobytes())
        n_frames = next(iter(enlarged.values())).shape[1]
        frames = [
            np.concatenate(
                [np.concatenate([labels[k], *clips[:, t]], axis=1) for k, clips in enlarged.items()]
            )
            for t in range(n_frames)
        ]
        there_and_back = frames + frames[-2:0:-1]  # short clips are easier to judge in a loop
        write_video(mp4, there_and_back * 3, Fraction(self.frame_rate))
        return [png, mp4]

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: dict[str, Any],
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Write each generated clip of the batch as an MP4."""
        folder = Path(trainer.default_root_dir) / "predictions"
        folder.mkdir(parents=True, exist_ok=True)
        rates = batch.get("frame_rate", torch.full((len(batch["clip"]),), self.frame_rate))
        for clip, source, index, rate in zip(
            self._visible(outputs["fake"], batch),
            batch["source"],
            batch["sample_index"].tolist(),
            rates.tolist(),
            strict=True,
        ):
            path = folder / f"{Path(source).stem}-{index:06d}.mp4"
            write_video(path, list(clip), rate)
            self.paths.append(path)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print where the clips are."""
        if self.paths:
            rank_zero_info(f"{len(self.paths)} clips of this process in {self.paths[0].parent}")
