"""Small clips with exact flow, and the parts that training tests are made of."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pytorch_lightning import Callback, LightningDataModule
from torch.utils.data import DataLoader, Dataset

from dp3_lightning.data.sampling import ClipSampler, EvaluationSampler, ResumableDataLoader
from dp3_lightning.data.synthetic import synthetic_clip
from dp3_lightning.faces.crop import hole_mask
from dp3_lightning.structures import Detection, UInt8Array
from dp3_lightning.video import write_video

SIZE = 32


@functools.lru_cache(maxsize=64)
def synthetic_sample(index: int, n_frames: int) -> dict[str, Any]:
    clip = synthetic_clip(identity=index, n_frames=max(n_frames, 2), size=(SIZE, SIZE), seed=index)
    frames = torch.from_numpy(clip.frames[:n_frames]).permute(0, 3, 1, 2).float()
    boxes = clip.boxes[:n_frames]
    sample: dict[str, Any] = {
        "clip": (frames - 127.5) / 127.5,
        "keep_mask": torch.from_numpy(np.stack([hole_mask(b, (SIZE, SIZE)) for b in boxes]))[
            :, None
        ],
        "box": torch.from_numpy(boxes.astype(np.float32)),
        "frame_index": torch.arange(n_frames),
        "sample_index": index,
        "source": f"synthetic-{index}",
        "pair_valid": torch.from_numpy(clip.pair_valid[: n_frames - 1]),
    }
    if n_frames > 1:
        for key in ("to_previous", "from_previous", "to_first", "from_first"):
            sample[f"flow_{key}"] = torch.from_numpy(getattr(clip, f"flow_{key}")[: n_frames - 1])
    return sample


class SyntheticClips(Dataset[dict[str, Any]]):
    def __init__(self, n_clips: int, n_frames: int) -> None:
        self.n_clips, self.n_frames = n_clips, n_frames

    def __len__(self) -> int:
        return self.n_clips

    def __getitem__(self, key: Any) -> dict[str, Any]:
        return synthetic_sample(key[0] if isinstance(key, tuple) else key, self.n_frames)


class SyntheticDataModule(LightningDataModule):
    def __init__(
        self, n_clips: int = 8, n_frames: int = 3, batch_size: int = 2, num_workers: int = 0
    ) -> None:
        super().__init__()
        self.clips = SyntheticClips(n_clips, n_frames)
        self.batch_size, self.num_workers = batch_size, num_workers

    def train_dataloader(self) -> DataLoader[Any]:
        world, rank = self.trainer.world_size, self.trainer.global_rank
        return ResumableDataLoader(
            dataset=self.clips,
            batch_size=self.batch_size,
            sampler=ClipSampler(self.clips, self.batch_size, 0, world, rank),
            drop_last=True,
            num_workers=self.num_workers,
        )

    def val_dataloader(self) -> DataLoader[Any]:
        world, rank = self.trainer.world_size, self.trainer.global_rank
        sampler = EvaluationSampler(self.clips, world, rank)
        return DataLoader(dataset=self.clips, batch_size=self.batch_size, sampler=sampler)


def batch_of(n_clips: int = 2, n_frames: int = 3) -> dict[str, Any]:
    return torch.utils.data.default_collate([synthetic_sample(i, n_frames) for i in range(n_clips)])


class KillAfter(Callback):
    """SIGKILL this process after so many generator updates."""

    def __init__(self, updates: int) -> None:
        super().__init__()
        self.updates = updates

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        if trainer.global_step == self.updates:
            os.kill(os.getpid(), signal.SIGKILL)


class PoisonAfter(Callback):
    """Put a NaN into the batch of one rank after so many generator updates."""

    def __init__(self, updates: int, rank: int = 0) -> None:
        super().__init__()
        self.updates, self.rank = updates, rank

    def on_train_batch_start(self, trainer: Any, _: Any, batch: dict[str, Any], __: int) -> None:
        if trainer.global_step == self.updates and trainer.global_rank == self.rank:
            batch["clip"] = batch["clip"] * float("nan")


def write_synthetic_video(path: Path, record: Path | None = None, **options: Any) -> Path:
    """Write a lossless clip, and the boxes that :class:`RecordedDetector` answers with.

    ``record`` is where the boxes go; default: ``boxes.json`` beside the clip.
    """
    clip = synthetic_clip(**options)
    written = write_video(path, list(clip.frames), 25, lossless=True)
    boxes = {frame_key(f): b.tolist() for f, b in zip(clip.frames, clip.boxes, strict=True)}
    record = path.parent / "boxes.json" if record is None else record
    known = json.loads(record.read_text()) if record.exists() else {}
    record.write_text(json.dumps(known | boxes))
    return written


def write_people(folder: Path, people: list[str], **options: Any) -> RecordedDetector:
    """Write ``<person>/clip.mkv`` for each name, and return the detector that knows them all."""
    for number, person in enumerate(people):
        (folder / person).mkdir(parents=True)
        write_synthetic_video(
            folder / person / "clip.mkv",
            folder / "boxes.json",
            **{"identity": number, "seed": number, **options},
        )
    return RecordedDetector(str(folder / "boxes.json"))


def frame_key(frame: UInt8Array) -> str:
    return hashlib.md5(np.ascontiguousarray(frame).tobytes()).hexdigest()


class RecordedDetector:
    """Answers with the boxes that were recorded for a frame; unknown frames have no face."""

    def __init__(self, record: str) -> None:
        self.record = record
        self.name = f"recorded-{record}"
        self.calls = 0

    def __call__(self, frames: list[UInt8Array]) -> list[list[Detection]]:
        self.calls += len(frames)
        boxes = json.loads(Path(self.record).read_text())
        found = [boxes.get(frame_key(frame)) for frame in frames]
        return [[] if box is None else [Detection(tuple(box), 0.9)] for box in found]
