from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from dp3_lightning.anonymize import DeviceOptions, Drawing, PersonOptions, RenderOptions
from dp3_lightning.anonymize.rendering.drawing import weights_digest
from dp3_lightning.anonymize.rendering.renderer import FaceRenderer
from dp3_lightning.assets import AssetUnavailableError
from dp3_lightning.generators import BlurGenerator, SolidGenerator, StyleGANUnetAdapter
from tests.anonymize.anonymize_fixtures import draw_frames, moving, plan_for, tiny32

NO_CUDA = not torch.cuda.is_available()


def test_treatments_need_no_network() -> None:
    for name in ("blur", "pixelate", "solid"):
        drawing = Drawing.prepare(name)
        assert (drawing.generator, drawing.treatment, drawing.sha256) == (None, name, "")
        assert drawing.styles(plan_for({"a": moving(3)[0] * 3}, 3), PersonOptions(), b"") == {}


def test_weights_decide_the_digest_and_their_order_does_not() -> None:
    one, other = tiny32(), StyleGANUnetAdapter("tiny32")
    assert weights_digest(one) == weights_digest(one) != weights_digest(other)
    other.load_state_dict(one.state_dict())
    assert weights_digest(one) == weights_digest(other)
    with torch.no_grad():
        next(other.parameters()).view(-1)[0] += 1e-6
    assert weights_digest(one) != weights_digest(other)


def test_weights_that_cannot_be_had_name_the_ways_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unavailable(source: object) -> Path:
        raise AssetUnavailableError("no network")

    monkeypatch.setattr("dp3_lightning.generators.loading.resolve_weights", unavailable)
    with pytest.raises(AssetUnavailableError, match=r"no network(.|\n)*--generator blur"):
        Drawing.prepare("fdf128")


def test_a_checkpoint_file_is_loaded_and_named_without_its_folder(tmp_path: Path) -> None:
    from dp3_lightning.generators.export import export_generator

    path = export_generator(tiny32(), tmp_path / "mine.safetensors", "safetensors", {})
    drawing = Drawing.prepare(path)
    assert drawing.name == "mine.safetensors"
    assert drawing.generator is not None
    assert drawing.generator.image_size == (32, 32)
    assert str(tmp_path) not in str(drawing.describe())


def test_devices_and_precisions_that_are_not_there_are_named() -> None:
    with pytest.raises(ValueError, match=r"`device`.*'abacus'"):
        Drawing.prepare(tiny32(), DeviceOptions("abacus"))
    with pytest.raises(ValueError, match=r"SolidGenerator needs 32"):
        Drawing.prepare(SolidGenerator((32, 32)), DeviceOptions(precision="bf16"))
    with pytest.raises(ValueError, match=r"`precision`.*'64'"):
        DeviceOptions(precision="64")  # type: ignore[arg-type]
    if NO_CUDA:
        with pytest.raises(ValueError, match=r"`device: cuda`.*`device: cpu`"):
            Drawing.prepare(tiny32(), DeviceOptions("cuda"))


def test_a_generator_that_wants_the_real_face_is_refused() -> None:
    with pytest.raises(ValueError, match="works on the real face"):
        FaceRenderer(plan_for({"a": moving(3)[0] * 3}, 3), BlurGenerator((32, 32)))


def test_bfloat16_draws_nearly_the_same_face() -> None:
    faces = [boxes[0] for boxes in moving(4)]
    plan, frames = plan_for({"a": faces}, 4), draw_frames([[box] for box in faces])
    made = []
    torch.manual_seed(0)
    network = tiny32()
    for precision in ("32", "bf16"):
        drawing = Drawing.prepare(network, DeviceOptions("cpu", precision))  # type: ignore[arg-type]
        styles = drawing.styles(plan, PersonOptions(seed=1), b"")
        renderer = FaceRenderer(plan, drawing.generator, styles, RenderOptions(propagation="off"))
        made.append(np.stack(renderer.render(frames, 0).frames).astype(float))
    assert 0 < np.abs(made[0] - made[1]).max() < 16
    assert np.abs(made[0] - made[1]).mean() < 0.2


@pytest.mark.gpu
@pytest.mark.skipif(NO_CUDA, reason="no CUDA device")
def test_a_gpu_draws_the_same_face() -> None:
    faces = [boxes[0] for boxes in moving(6)]
    plan, frames = plan_for({"a": faces}, 6), draw_frames([[box] for box in faces])
    network, made = tiny32(), []
    for device in ("cpu", "cuda"):
        drawing = Drawing.prepare(network, DeviceOptions(device))
        styles = drawing.styles(plan, PersonOptions(seed=1), b"")
        made.append(FaceRenderer(plan, drawing.generator, styles).render(frames, 0))
    assert made[0].n_drawn == made[1].n_drawn
    assert not made[1].failures
    gaps = [
        np.abs(a.astype(int) - b).max() for a, b in zip(made[0].frames, made[1].frames, strict=True)
    ]
    assert max(gaps) <= 2
