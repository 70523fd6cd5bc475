from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from dp3_lightning.cli import studies as commands
from dp3_lightning.data.face_shards import read_shard
from dp3_lightning.generators.face_prior.adapter import load_encoder
from dp3_lightning.generators.face_prior.context_encoder import ContextEncoder
from dp3_lightning.generators.face_prior.latent_model import LatentModel
from dp3_lightning.generators.face_prior.latent_space import LatentSpace
from dp3_lightning.studies import encoder_residuals, synth_faces
from dp3_lightning.studies.color_heads import sample_styles
from dp3_lightning.studies.encoder_residuals import residuals_of
from dp3_lightning.studies.synth_faces import FaceSampler, flat_choice
from tests.face_prior_fixtures import smooth_pictures, write_shard

# --------------------------------------------------------------------------------- choice


def test_choice_spreads_evenly() -> None:
    values = torch.randn(4000, generator=torch.Generator().manual_seed(0))
    chosen = flat_choice(values, 400, seed=1)
    assert len(set(chosen.tolist())) == 400
    found = values[chosen]
    low, high = (float(torch.quantile(values, q)) for q in (0.01, 0.99))
    counts = torch.histc(found, 8, low, high)
    assert counts.min() > 30  # 50 if it were exact; as they come, the outermost holds 8
    assert counts.max() < 75
    natural = torch.histc(values[:400], 8, low, high)
    assert natural.min() < 20


def test_choice_depends_on_the_seed_alone() -> None:
    values = torch.randn(100, generator=torch.Generator().manual_seed(0))
    assert torch.equal(flat_choice(values, 10, 5), flat_choice(values, 10, 5))
    assert not torch.equal(flat_choice(values, 10, 5), flat_choice(values, 10, 6))
    assert sorted(flat_choice(values, 100, 0).tolist()) == list(range(100))


def test_styles_lie_between_the_mean_and_the_mapped() -> None:
    mean = torch.randn(4, generator=torch.Generator().manual_seed(2))

    def mapping(z: Tensor) -> Tensor:
        return z + 3

    given: Any = mapping
    whole = sample_styles(300, 1, given, mean, low=1.0)
    part = sample_styles(300, 1, given, mean)
    share = (part - mean) / (whole - mean)
    assert (share.std(1) < 1e-4).all()
    assert share.min() >= 0.6 - 1e-4
    assert share.max() <= 1 + 1e-4
    assert share.mean() == pytest.approx(0.8, abs=0.02)
    assert (whole.mean() - 3).abs() < 0.2
    assert torch.equal(part, sample_styles(300, 1, given, mean))
    assert not torch.equal(part, sample_styles(300, 2, given, mean))


# --------------------------------------------------------------------------------- shards


class FakeDraw:
    """Pictures whose colour tells the first three numbers of the style."""

    def __init__(self, net: object) -> None:
        self.calls = 0

    def __call__(self, w: Tensor, size: int) -> Tensor:
        self.calls += 1
        return torch.tanh(w[:, :3, None, None]).expand(-1, -1, size, size) * 1.2


@pytest.fixture
def no_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    net = SimpleNamespace(heads=nn.ModuleDict())
    fakes = {
        "MobileStyleGANSynthesis": SimpleNamespace(from_package=lambda: net),
        "MobileStyleGANMapping": SimpleNamespace(from_package=nn.Identity),
        "FastSynthesis": FakeDraw,
        "SHARD": 5,
    }
    for name, fake in fakes.items():
        monkeypatch.setattr(synth_faces, name, fake)


@pytest.mark.usefixtures("no_networks")
def test_shards_are_functions_of_seed_and_number(tmp_path: Path) -> None:
    mean = torch.zeros(512)
    sampler = FaceSampler(mean, {}, seed=1)
    path = sampler.write(tmp_path, 3)
    assert [p.name for p in tmp_path.iterdir()] == ["faces-00003.safetensors"]
    shard = read_shard(path)
    assert shard.styles.shape == (5, 512)
    for picture, style in zip(shard.pictures(), shard.styles, strict=True):
        expected = (np.clip(np.tanh(style[:3].numpy()) * 1.2, -1, 1) + 1) * 127.5
        assert picture.shape == (256, 256, 3)
        assert np.abs(picture.mean((0, 1)) - expected).max() < 3
    again = FaceSampler(mean, {}, seed=1)
    (tmp_path / "other").mkdir()
    assert again.write(tmp_path / "other", 3).read_bytes() == path.read_bytes()
    assert not torch.equal(again.styles(4), shard.styles)
    assert not torch.equal(FaceSampler(mean, {}, seed=2).styles(3), shard.styles)


@pytest.mark.usefixtures("no_networks")
def test_shards_that_are_there_stay(tmp_path: Path) -> None:
    sampler = FaceSampler(torch.zeros(512), {})
    path = sampler.write(tmp_path, 0)
    path.write_bytes(b"kept")
    assert sampler.write(tmp_path, 0) == path
    assert path.read_bytes() == b"kept"
    draw: Any = sampler.draw
    assert draw.calls == 5


@pytest.mark.usefixtures("no_networks")
def test_a_stopped_run_leaves_no_half_shard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(content: dict[str, Tensor], path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(synth_faces, "save_file", full_disk)
    with pytest.raises(OSError, match="no space"):
        FaceSampler(torch.zeros(512), {}).write(tmp_path, 0)
    assert list(tmp_path.glob("*.safetensors")) == []


@pytest.mark.usefixtures("no_networks")
def test_balanced_shards_have_flat_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synth_faces, "SHARD", 200)

    def balance(w: Tensor) -> Tensor:
        return w[:, 0]

    flat = balance(FaceSampler(torch.zeros(512), {}, balance=balance).styles(0))
    natural = balance(FaceSampler(torch.zeros(512), {}).styles(0))
    assert len(flat) == 200
    assert flat.std() > 1.2 * natural.std()


# -------------------------------------------------------------------------------- commands


def test_errors_of_the_commands(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        commands.data_command([])
    with pytest.raises(ValueError, match=r"`--count` of at least 1, got 0"):
        commands.data_command(["synth-faces", str(tmp_path / "faces"), "--count", "0"])
    assert not (tmp_path / "faces").exists()
    with pytest.raises(SystemExit):
        commands.face_prior_command(["pack"])
    where = ["--faces", str(tmp_path), "--out", str(tmp_path / "out")]
    with pytest.raises(FileNotFoundError, match=r"none\.ckpt"):
        commands.face_prior_command(["pack", "--checkpoint", str(tmp_path / "none.ckpt"), *where])
    torch.save({"state_dict": averaged(ContextEncoder())}, tmp_path / "last.ckpt")
    with pytest.raises(FileNotFoundError, match="No measured faces"):
        commands.face_prior_command(["pack", "--checkpoint", str(tmp_path / "last.ckpt"), *where])
    assert list((tmp_path / "out").iterdir()) == []


def test_first_shards_come_as_they_are_and_later_ones_balanced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[tuple[int, bool]] = []

    class Sampler:
        def __init__(self, mean: Tensor, heads: object, seed: int, balance: Any = None) -> None:
            self.balance = balance

        def write(self, folder: Path, number: int) -> Path:
            written.append((number, self.balance is not None))
            return folder / str(number)

    class Measurer:
        def measure(self, path: Path) -> dict[str, Tensor]:
            return {"valid": torch.ones(2)}

    fitted: list[list[str]] = []

    def fit(shards: list[Path], space: LatentSpace) -> tuple[LatentModel, dict[str, float]]:
        fitted.append([path.name for path in shards])
        return LatentModel.load(), {}

    for name, fake in {
        "FaceSampler": Sampler,
        "FaceMeasurer": Measurer,
        "fit_latent_model": fit,
    }.items():
        monkeypatch.setattr(commands, name, fake)
    commands.data_command(["synth-faces", str(tmp_path / "new"), "--count", "2260"])
    assert written == [(n, n >= 8) for n in range(10)]  # 2500 people
    assert fitted == [[f"faces-{n:05d}.safetensors" for n in range(8)]]


def test_lightness_is_the_models_response() -> None:
    model, space = LatentModel.load(), LatentSpace.load()
    u = torch.randn(5, 512, generator=torch.Generator().manual_seed(1))
    predicted = commands.lightness(model, space)(space.color(u))
    expected = model.predict(u.double().numpy())[:, model.index("skin_l")[0]]
    np.testing.assert_allclose(predicted, expected, atol=0.01)


# ------------------------------------------------------------------------------------ pack


def averaged(encoder: nn.Module) -> dict[str, Tensor]:
    return {f"averaged.{name}": value for name, value in encoder.state_dict().items()}


class Constant(ContextEncoder):
    def forward(self, aligned: Tensor, known: Tensor) -> Tensor:
        return torch.zeros(len(aligned), 512)


def test_residuals_are_those_of_faces_that_only_judge(tmp_path: Path) -> None:
    for number, n in enumerate([2, 3, 4]):
        write_shard(tmp_path, number, smooth_pictures(n))
    space = LatentSpace.load()
    residuals, explained = residuals_of(Constant(), tmp_path, space)
    styles = [load_file(tmp_path / f"faces-0000{n}.safetensors")["styles"] for n in range(2)]
    truth = space.whiten(torch.cat(styles))
    assert explained == pytest.approx(0.0, abs=1e-6)
    np.testing.assert_allclose(residuals, truth.repeat(4, 1), atol=1e-5)  # four views


def test_packed_weights_can_be_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    monkeypatch.setattr(encoder_residuals, "_VIEWS", 1)
    for number, n in enumerate([6, 6, 120]):
        noise = rng.normal(scale=1.0, size=(n, 468, 3))
        path = write_shard(tmp_path, number, smooth_pictures(1) * n)
        meshes = load_file(path.with_name(path.name.replace("faces", "measures")))["mesh"].numpy()
        write_shard(tmp_path, number, smooth_pictures(1) * n, meshes=meshes + noise)
    torch.manual_seed(0)
    encoder = ContextEncoder().eval()
    torch.save({"state_dict": averaged(encoder)}, tmp_path / "last.ckpt")
    out = tmp_path / "out"
    where = ["--faces", str(tmp_path), "--out", str(out)]
    arguments = ["pack", "--checkpoint", str(tmp_path / "last.ckpt"), *where]
    assert commands.face_prior_command(arguments) == 0
    assert "yaw" in capsys.readouterr().out
    packed = ContextEncoder().eval()
    load_encoder(packed, out / "context_encoder.safetensors")
    x, known = torch.rand(1, 3, 96, 96), torch.ones(1, 1, 96, 96)
    with torch.no_grad():
        torch.testing.assert_close(packed(x, known), encoder(x, known), rtol=0.02, atol=1e-3)
    model = LatentModel.load(out / "latent_model.safetensors")
    assert model.response.shape == (512, 119)
    assert np.isfinite(model.response).all()
    assert np.linalg.eigvalsh(model.spread)[0] > 0
