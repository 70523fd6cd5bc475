from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from pytorch_lightning import Trainer
from pytorch_lightning.loggers import CSVLogger

from dp3_lightning.callbacks import ClipPreview, FitReport, PixelLoss, UpdateProgressBar
from dp3_lightning.callbacks.clip_preview import LABEL_WIDTH, to_uint8
from dp3_lightning.discriminators import DiscriminatorAdapter
from dp3_lightning.generators import StyleGANUnetAdapter
from dp3_lightning.modules import VideoFineTuner
from dp3_lightning.video import VideoReader
from tests.training_fixtures import SIZE, SyntheticDataModule, batch_of


def run(folder: Path, callbacks: list, **options: Any) -> Trainer:
    torch.manual_seed(0)
    module = VideoFineTuner(StyleGANUnetAdapter("tiny32"), DiscriminatorAdapter("tiny32"))
    trainer = Trainer(
        default_root_dir=folder,
        accelerator="cpu",
        logger=CSVLogger(folder),
        enable_checkpointing=False,
        enable_model_summary=False,
        callbacks=callbacks,
        **{"max_steps": 4, "num_sanity_val_steps": -1, "limit_val_batches": 1} | options,
    )
    trainer.fit(module, datamodule=SyntheticDataModule())
    return trainer


def picture(path: Path) -> np.ndarray:
    return cv2.imread(str(path))[..., ::-1]


@pytest.mark.parametrize("show_original", [False, True])
def test_preview_shows_the_real_face_only_when_asked(tmp_path: Path, show_original: bool) -> None:
    preview = ClipPreview(n_clips=2, show_original=show_original)
    run(tmp_path, [preview], enable_progress_bar=False)
    assert [p.name for p in preview.paths] == ["update-000004.png", "update-000004.mp4"]
    assert (tmp_path / "previews/update-000000.png").is_file()
    strip = picture(preview.paths[0])
    rows = 4 if show_original else 3
    assert strip.shape == (2 * rows * SIZE, LABEL_WIDTH + 3 * SIZE, 3)
    batch = batch_of(2, 3)
    real = to_uint8(batch["clip"])[0, 0]
    hole = (1 - batch["keep_mask"])[0, 0, 0].numpy().astype(bool)
    tiles = strip[:, LABEL_WIDTH : LABEL_WIDTH + SIZE].reshape(-1, SIZE, SIZE, 3)
    shown = [bool((tile[hole] == real[hole]).all()) for tile in tiles]
    assert any(shown) == show_original
    assert (tiles[0][hole] == 128).all()  # the condition is mid grey in the hole
    assert (tiles[1][~hole] == real[~hole]).all()
    with VideoReader(preview.paths[1]) as reader:
        assert len(reader) == (3 + 1) * 3
        assert reader.size == (rows * SIZE, LABEL_WIDTH + 2 * SIZE)


def test_predictions_are_written_per_clip(tmp_path: Path) -> None:
    preview = ClipPreview()
    trainer = run(tmp_path, [preview], enable_progress_bar=False)
    batch = batch_of(2, 3)
    preview.paths.clear()
    outputs = trainer.lightning_module.predict_step(batch, 0)
    preview.on_predict_batch_end(trainer, trainer.lightning_module, outputs, batch, 0)
    assert len(preview.paths) == 2
    for path in preview.paths:
        with VideoReader(path) as reader:
            assert len(reader) == 3


def test_report_prints_before_and_after_and_existing_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = FitReport()
    trainer = run(
        tmp_path, [report, ClipPreview(), PixelLoss(weight=5.0)], enable_progress_bar=False
    )
    assert report.steps == [0, 4]
    assert report.before["val/ring_error"] != report.after["val/ring_error"]
    printed = capsys.readouterr().out
    for text in ("update 0", "update 4", "val/ring_error", f"{report.after['val/ring_error']:.5f}"):
        assert text in printed
    files = report.files(trainer)
    assert {kind for kind, _ in files} == {"CSVLogger", "preview"}
    assert all(path.exists() for _, path in files)


def test_bar_counts_updates_over_epochs_with_short_names(tmp_path: Path) -> None:
    bar = UpdateProgressBar()
    trainer = run(tmp_path, [bar, PixelLoss()], max_steps=6, limit_val_batches=0)
    assert bar.train_progress_bar.total == 6
    assert bar.train_progress_bar.n == 6
    names = set(bar.get_metrics(trainer, trainer.lightning_module))
    assert {"adversarial", "pixel"} <= names
    assert not any("/" in name for name in names)


@pytest.mark.parametrize("option", ["n_clips", "scale", "frame_rate"])
def test_bad_arguments_are_named(option: str) -> None:
    with pytest.raises(ValueError, match=f"{option}.*0"):
        ClipPreview(**{option: 0})


def grey(picture: np.ndarray) -> np.ndarray:
    return (np.abs(picture.astype(int) - 128) <= 1).all(axis=-1)


@pytest.mark.parametrize("show_original", [False, True])
def test_other_peoples_faces_are_not_shown(tmp_path: Path, show_original: bool) -> None:
    class TwoFaces(SyntheticDataModule):
        def on_after_batch_transfer(self, batch: dict, dataloader_idx: int) -> dict:
            other = torch.zeros_like(batch["keep_mask"], dtype=torch.uint8)
            other[..., :8, :8] = 1
            return batch | {"other_faces": other}

    torch.manual_seed(0)
    module = VideoFineTuner(StyleGANUnetAdapter("tiny32"), DiscriminatorAdapter("tiny32"))
    preview = ClipPreview(n_clips=1, show_original=show_original)
    trainer = Trainer(
        default_root_dir=tmp_path,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        callbacks=[preview],
        enable_progress_bar=False,
        limit_val_batches=1,
        limit_predict_batches=1,
    )
    trainer.validate(module, datamodule=TwoFaces(), verbose=False)
    # `validate` must not overwrite the pictures of a run.
    assert [p.name for p in preview.paths] == ["validation.png", "validation.mp4"]
    strip = picture(preview.paths[0])
    for row in range(2):  # condition, generated
        corner = strip[row * SIZE : row * SIZE + 8, LABEL_WIDTH : LABEL_WIDTH + 8]
        assert grey(corner).all() != show_original


def test_prediction_has_the_frame_rate_of_its_video(tmp_path: Path) -> None:
    preview = ClipPreview()
    batch = batch_of(2) | {"frame_rate": torch.tensor([10.0, 24.0]), "source": ["a", "b"]}
    outputs = {"fake": batch["clip"]}
    trainer = SimpleNamespace(default_root_dir=tmp_path)
    preview.on_predict_batch_end(trainer, None, outputs, batch, 0)  # type: ignore[arg-type]
    assert [VideoReader(p).average_rate for p in preview.paths] == [10, 24]
