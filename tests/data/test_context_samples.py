from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from dp3_lightning.data import context_samples
from dp3_lightning.data.context_samples import ContextDataModule, ContextSamples
from dp3_lightning.data.face_shards import measured_shards, read_measures, read_shard
from tests.face_prior_fixtures import smooth_pictures, write_shard


@pytest.fixture
def samples(tmp_path: Path) -> ContextSamples:
    return ContextSamples([write_shard(tmp_path, 0, smooth_pictures(6))], seed=3)


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in ("aligned", "known", "style"))


# -------------------------------------------------------------------------------- shards


def test_shards_hold_pictures_and_styles(tmp_path: Path) -> None:
    pictures = smooth_pictures(3)
    path = write_shard(tmp_path, 0, pictures)
    shard = read_shard(path)
    for read, picture in zip(shard.pictures(), pictures, strict=True):
        assert read.shape == picture.shape
        assert np.abs(read.astype(int) - picture).mean() < 2  # RGB, one after the other
    measures = read_measures(path)
    assert torch.equal(measures["styles"], shard.styles)
    assert measures["mesh"].shape == (3, 468, 3)


def test_only_measured_shards_count(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"No measured faces in .*synth-faces"):
        measured_shards(tmp_path)
    for number, measured in ((3, True), (1, True), (2, False)):
        write_shard(tmp_path, number, smooth_pictures(1), measured=measured)
    names = [path.name for path in measured_shards(tmp_path)]
    assert names == ["faces-00001.safetensors", "faces-00003.safetensors"]
    with pytest.raises(FileNotFoundError, match=r"No shard at .*00009"):
        read_shard(tmp_path / "faces-00009.safetensors")


# ------------------------------------------------------------------------------- samples


def test_the_hole_shows_nothing(samples: ContextSamples) -> None:
    for epoch in range(8):
        samples.epoch = epoch
        for sample in (samples[n] for n in range(len(samples))):
            aligned, known = sample["aligned"], sample["known"]
            assert aligned.shape == (3, 96, 96)
            assert known.shape == (1, 96, 96)
            assert sample["style"].shape == (512,)
            assert known.min() >= 0
            assert known.max() <= 1
            hole = (known == 0).expand(3, -1, -1)
            assert aligned[hole].abs().max() == 0
            assert known[0, 30:70, 35:61].max() == 0  # eyes, nose and mouth
            assert aligned[~hole].abs().max() <= 1 + 1e-5


def test_nothing_of_the_face_comes_through(tmp_path: Path) -> None:
    pictures = smooth_pictures(4)
    others = [picture.copy() for picture in pictures]
    for other in others:
        other[104:184, 96:160] = 255 - other[104:184, 96:160]
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder, content in zip(folders, (pictures, others), strict=True):
        folder.mkdir()
        write_shard(folder, 0, content)
    first, second = (ContextSamples(measured_shards(folder)) for folder in folders)
    assert not np.array_equal(first.pictures, second.pictures)
    for epoch in range(6):
        first.epoch = second.epoch = epoch
        assert all(equal(first[n], second[n]) for n in range(4))


def test_pixels_at_the_hole_keep_their_colour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context_samples, "_damaged", lambda picture, rng: picture)
    path = write_shard(tmp_path, 0, [np.full((256, 256, 3), 200, np.uint8)])
    sample = ContextSamples([path])[0]
    aligned, known = sample["aligned"], sample["known"][0]
    assert ((known > 0.01) & (known < 0.99)).sum() > 20
    assert (aligned[:, known > 0.01] - (200 / 127.5 - 1)).abs().max() < 0.02


def test_most_of_what_surrounds_the_face_is_known(samples: ContextSamples) -> None:
    shares = []
    for epoch in range(10):
        samples.epoch = epoch
        shares += [float(samples[n]["known"].mean()) for n in range(len(samples))]
    assert 0.1 < np.median(shares) < 0.6
    assert np.std(shares) > 0.05  # windows and borders differ


def test_every_face_and_epoch_has_other_light(tmp_path: Path) -> None:
    grey = [np.full((256, 256, 3), 128, np.uint8)] * 8
    samples = ContextSamples([write_shard(tmp_path, 0, grey)])
    seen = []
    for epoch in range(2):
        samples.epoch = epoch
        for sample in (samples[n] for n in range(8)):
            seen.append(sample["aligned"][:, sample["known"][0] > 0.5].mean(1))
    levels = torch.stack(seen)
    assert (levels.std(0) > 0.05).all()
    assert ((levels.max(1).values - levels.min(1).values) > 0.02).sum() > 4  # colour casts
    assert ((levels[:8] - levels[8:]).abs().amax(1) > 0.01).all()


def test_samples_depend_on_seed_epoch_and_index_alone(samples: ContextSamples) -> None:
    first = samples[2]
    _ = samples[4]
    torch.manual_seed(9)  # nothing global takes part
    np.random.seed(9)
    assert equal(samples[2], first)
    samples.epoch = 1
    assert not torch.equal(samples[2]["known"], first["known"])
    assert not torch.equal(samples[2]["aligned"], first["aligned"])
    assert torch.equal(samples[2]["style"], first["style"])
    samples.epoch, samples.seed = 0, 4
    assert not torch.equal(samples[2]["known"], first["known"])
    samples.seed = 3
    assert equal(samples[2], first)
    assert not torch.equal(samples[1]["known"], first["known"])


def test_faces_without_a_mesh_are_left_out(tmp_path: Path) -> None:
    pictures = smooth_pictures(4)
    path = write_shard(tmp_path, 0, pictures, valid=[True, False, False, True])
    samples = ContextSamples([path])
    assert len(samples) == 2
    assert torch.equal(samples[1]["style"], read_shard(path).styles[3])
    small = cv2.resize(pictures[3], (128, 128), interpolation=cv2.INTER_AREA)
    assert np.abs(samples.pictures[1].astype(int) - small).mean() < 2


def test_faces_are_aligned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture that is shifted with its face gives the same sample."""
    monkeypatch.setattr(context_samples, "_damaged", lambda picture, rng: picture)
    pictures = smooth_pictures(3, cells=16)
    shift = np.float32([[1, 0, 14], [0, 1, -10]])
    mirror = {"borderMode": cv2.BORDER_REFLECT_101}
    moved = [cv2.warpAffine(p, shift, (256, 256), **mirror) for p in pictures]
    here = ContextSamples([write_shard(tmp_path, 0, pictures)])
    folder = tmp_path / "moved"
    folder.mkdir()
    there = ContextSamples([write_shard(folder, 0, moved, moved=(14.0, -10.0))])
    for number in range(3):
        a, b = here[number], there[number]
        assert (a["known"] - b["known"]).abs().mean() < 1e-3
        both = torch.minimum(a["known"], b["known"])[:, 10:86, 10:86]
        difference = (a["aligned"] - b["aligned"]).abs()[:, 10:86, 10:86] * both
        assert difference.sum() / both.sum() / 3 < 0.02


# ---------------------------------------------------------------------------- data module


def shards(folder: Path, sizes: list[int]) -> Path:
    for number, n in enumerate(sizes):
        write_shard(folder, number, smooth_pictures(n, seed=number))
    return folder


def test_first_shards_judge_and_the_others_train(tmp_path: Path) -> None:
    data = ContextDataModule(str(shards(tmp_path, [2, 3, 4, 5])), batch_size=4)
    data.setup("validate")
    assert data.train is None
    data.setup("fit")
    assert data.train is not None
    paths = measured_shards(tmp_path)
    judging = torch.cat([read_shard(p).styles for p in paths[:2]])
    assert data.validation is not None
    assert torch.equal(data.validation.styles, judging)
    assert len(data.train) == 9
    batches = list(data.train_dataloader())
    assert [len(b["style"]) for b in batches] == [4, 4]  # only whole ones
    assert batches[0]["aligned"].shape == (4, 3, 96, 96)
    (judged,) = data.val_dataloader()
    assert torch.equal(judged["style"], judging)  # in order


def test_every_epoch_has_its_own_order_and_damage(tmp_path: Path) -> None:
    data = ContextDataModule(str(shards(tmp_path, [1, 8])), 1, batch_size=8)
    data.setup("fit")

    def batch(epoch: int) -> dict[str, Any]:
        data.trainer = SimpleNamespace(current_epoch=epoch)  # type: ignore[assignment]
        return next(iter(data.train_dataloader()))

    first, again, second = batch(0), batch(0), batch(1)
    assert equal(first, again)
    assert not torch.equal(first["style"], second["style"])
    order = [int((first["style"] == row).all(1).nonzero()) for row in second["style"]]
    assert sorted(order) == list(range(8))
    assert not torch.equal(first["known"][order], second["known"])
    judged = next(iter(data.val_dataloader()))
    assert equal(judged, next(iter(data.val_dataloader())))


def test_errors_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="synth-faces"):
        ContextDataModule(str(tmp_path)).setup("fit")
    data = ContextDataModule(str(shards(tmp_path, [1, 1])))
    with pytest.raises(ValueError, match=r"more than 2 shards in .*, got 2"):
        data.setup("fit")
    with pytest.raises(RuntimeError, match=r"setup\('fit'\)"):
        data.train_dataloader()
    with pytest.raises(RuntimeError, match=r"setup\('validate'\)"):
        data.val_dataloader()
    for name in ("validation_shards", "batch_size"):
        arguments: dict[str, Any] = {name: 0}
        with pytest.raises(ValueError, match=name):
            ContextDataModule(str(tmp_path), **arguments)
