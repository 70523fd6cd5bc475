"""Make training pictures of the context encoder: drawn faces with a hole, damaged like video."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dp3_lightning.checks import check_at_least
from dp3_lightning.data.face_shards import measured_shards, read_measures, read_shard
from dp3_lightning.faces.alignment import align_matrix
from dp3_lightning.faces.expression import five_points
from dp3_lightning.randomness import stable_hash
from dp3_lightning.structures import FloatArray, UInt8Array

_SIDE = 128  # pixels of the stored and aligned pictures
_INPUT = 96


class ContextSamples(Dataset[dict[str, Tensor]]):
    """Serve drawn faces, aligned, with a hole over the face and everyday damage.

    Args:
        shards: files of measured faces.
        seed: of the damage, which depends on (seed, epoch, picture) only.
    """

    def __init__(self, shards: Sequence[Path], seed: int = 0) -> None:
        self.seed, self.epoch = seed, 0
        with ThreadPoolExecutor(2) as pool:
            parts = list(pool.map(_load, shards))
        self.pictures = np.concatenate([part[0] for part in parts])
        self.boxes = np.concatenate([part[1] for part in parts])
        self.five = np.concatenate([part[2] for part in parts])
        self.styles = torch.cat([part[3] for part in parts])

    def __len__(self) -> int:
        return len(self.styles)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Return ``aligned`` (3, 96, 96), ``known`` (1, 96, 96) and ``style`` (512)."""
        rng = np.random.default_rng(stable_hash(self.seed, "context", self.epoch, index))
        matrix = _jittered(align_matrix(self.five[index], _SIDE), rng)
        picture = cv2.warpAffine(
            self.pictures[index], matrix, (_SIDE, _SIDE), borderMode=cv2.BORDER_REFLECT_101
        )
        known = _known(self.boxes[index], matrix, rng)
        picture = _damaged(picture, rng)
        share = cv2.resize(known, (_INPUT, _INPUT), interpolation=cv2.INTER_AREA)
        masked = picture.astype(np.float32) / 127.5 - 1
        masked = cv2.resize(
            masked * known[..., None], (_INPUT, _INPUT), interpolation=cv2.INTER_AREA
        )
        masked /= np.maximum(share, 1e-3)[..., None]
        return {
            "aligned": torch.from_numpy(masked).permute(2, 0, 1),
            "known": torch.from_numpy(share)[None],
            "style": self.styles[index],
        }


def _load(shard: Path) -> tuple[UInt8Array, FloatArray, FloatArray, Tensor]:
    measures = read_measures(shard)
    valid = measures["valid"].numpy().astype(bool)
    scale = 0.5  # from the stored 256 pixels
    pictures = [
        cv2.resize(p, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
        for p, use in zip(read_shard(shard).pictures(), valid, strict=True)
        if use
    ]
    boxes = measures["box"].numpy()[valid].astype(np.float64) * scale
    meshes = measures["mesh"].numpy()[valid].astype(np.float64) * scale
    five = np.array([five_points(mesh) for mesh in meshes])
    return np.stack(pictures), boxes, five, measures["styles"][torch.from_numpy(valid)]


def _jittered(matrix: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Jitter the alignment as much as landmarks of real faces do."""
    half = _SIDE / 2
    turn = cv2.getRotationMatrix2D((half, half), rng.normal(0, 1.6), 1 + rng.normal(0, 0.02))
    turn[:, 2] += rng.normal(0, 1.4, 2)
    moved: FloatArray = turn[:, :2] @ matrix
    moved[:, 2] += turn[:, 2]
    return moved


def _known(box: FloatArray, matrix: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Return the visible part: a window about the face without the hole, ``(128, 128)``."""
    size = box[2:] - box[:2]
    center = matrix[:, :2] @ ((box[:2] + box[2:]) / 2) + matrix[:, 2]
    size = size * math.sqrt(abs(np.linalg.det(matrix[:, :2])))
    # The hole is upright in the frame; aligned, it is turned by the roll of the head.
    turn = rng.normal(0, 10) if rng.random() < 0.8 else 0.0
    c, s = abs(math.cos(math.radians(turn))), abs(math.sin(math.radians(turn)))
    hole = np.array([size[0] * c + size[1] * s, size[1] * c + size[0] * s])
    hole = hole * (1.05 + rng.normal(0, 0.05, 2))
    center = center + rng.normal(0, 0.015, 2) * size
    near = rng.random() < 0.4
    side = hole.max() * (rng.uniform(1.5, 1.85) if near else rng.uniform(1.85, 3.2))
    mask = _rectangle(center, (side, side), turn)
    if rng.random() < 0.25:  # the border of the frame
        direction = math.radians(turn + 90 * rng.integers(4))
        away = np.array([math.cos(direction), math.sin(direction)])
        reach = hole.max() * rng.uniform(0.45, 0.9)
        mask &= _rectangle(center - away * (2 * _SIDE - reach), (4 * _SIDE, 4 * _SIDE), turn)
    known: FloatArray = (mask & ~_rectangle(center, hole, turn)).astype(np.float32)
    return known


def _rectangle(center: FloatArray, size: Sequence[float] | FloatArray, turn: float) -> np.ndarray:
    corners = cv2.boxPoints(
        ((float(center[0]), float(center[1])), (float(size[0]), float(size[1])), turn)
    )
    mask = np.zeros((_SIDE, _SIDE), np.uint8)
    cv2.fillConvexPoly(mask, np.round(corners * 16).astype(np.int32), 1, cv2.LINE_8, 4)
    return mask.astype(bool)


def _damaged(picture: UInt8Array, rng: np.random.Generator) -> UInt8Array:
    """Add light, colour, blur, noise and compression as video has them."""
    x = picture.astype(np.float32) / 255
    if rng.random() < 0.8:
        x = x ** rng.uniform(0.7, 1.4)
    if rng.random() < 0.8:
        x = (x - 0.5) * rng.uniform(0.75, 1.2) + 0.5 + rng.uniform(-0.08, 0.08)
    if rng.random() < 0.8:
        x = x * (1 + rng.uniform(-0.1, 0.1, 3).astype(np.float32))
    if rng.random() < 0.5:
        grey = x.mean(2, keepdims=True)
        x = grey + (x - grey) * rng.uniform(0.5, 1.3)
    if rng.random() < 0.06:
        x = np.repeat(x.mean(2, keepdims=True), 3, axis=2)
    if rng.random() < 0.6:
        x = cv2.GaussianBlur(x, (0, 0), rng.uniform(0.2, 1.6))
    if rng.random() < 0.3:
        x = x + rng.normal(0, rng.uniform(0.005, 0.03), x.shape).astype(np.float32)
    levels = np.rint(np.clip(x, 0, 1) * 255).astype(np.uint8)
    if rng.random() < 0.5:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.uniform(25, 95))]
        data = cv2.imencode(".jpg", levels, quality)[1]
        levels = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
    return levels


class ContextDataModule(LightningDataModule):
    """Load drawn faces for the context encoder; the first shards validate, the others train.

    Args:
        folder: of ``dp3 data synth-faces``.
        validation_shards: number of shards that judge.
        batch_size: pictures per step.
        num_workers: processes that prepare pictures.
        seed: of the damage to the pictures.
    """

    def __init__(
        self,
        folder: str,
        validation_shards: int = 2,
        batch_size: int = 32,
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_at_least(1, validation_shards=validation_shards, batch_size=batch_size)
        self.folder, self.validation_shards = Path(folder), validation_shards
        self.batch_size, self.num_workers, self.seed = batch_size, num_workers, seed
        self.train: ContextSamples | None = None
        self.validation: ContextSamples | None = None

    def setup(self, stage: str) -> None:
        """Load the pictures.

        Raises:
            FileNotFoundError: no measured faces.
            ValueError: not more shards than those that judge.
        """
        shards = measured_shards(self.folder)
        if len(shards) <= self.validation_shards:
            raise ValueError(
                f"Expected more than {self.validation_shards} shards in {str(self.folder)!r}, got "
                f"{len(shards)}: make more with `dp3 data synth-faces`."
            )
        self.validation = ContextSamples(shards[: self.validation_shards], self.seed)
        if stage == "fit":
            self.train = ContextSamples(shards[self.validation_shards :], self.seed)

    def train_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """Return shuffled batches, in another order every epoch."""
        if self.train is None:
            raise RuntimeError("Call `setup('fit')` first.")
        epoch = self.trainer.current_epoch if self.trainer is not None else 0
        self.train.epoch = epoch
        order = torch.Generator().manual_seed(stable_hash(self.seed, "order", epoch))
        return DataLoader(
            self.train,
            batch_size=self.batch_size,
            shuffle=True,
            drop_last=True,
            generator=order,
            num_workers=self.num_workers,
        )

    def val_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """Return batches in order, with the same damage every time."""
        if self.validation is None:
            raise RuntimeError("Call `setup('validate')` first.")
        return DataLoader(self.validation, batch_size=64, num_workers=self.num_workers)
