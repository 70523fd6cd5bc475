"""Placement by hand; the generator with the published synthesis network."""

from __future__ import annotations

import copy
import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from dp3_lightning.faces.alignment import align_matrix
from dp3_lightning.faces.expression import five_points
from dp3_lightning.generators import load_generator
from dp3_lightning.generators.checkpoints import CONFIG_KEY
from dp3_lightning.generators.export import export_generator
from dp3_lightning.generators.face_prior.adapter import (
    DRAWN_BOX,
    NAME,
    FacePriorGenerator,
    placement,
)
from dp3_lightning.generators.face_prior.latent_space import LatentSpace
from tests.face_prior_fixtures import aligned_mesh, rotated

SIZE = 128


def keep_with_hole(box: tuple[int, int, int, int], size: tuple[int, int] = (SIZE, SIZE)) -> Tensor:
    """``(1, H, W)``, 0 in left, top, right, bottom."""
    keep = torch.ones(1, *size)
    left, top, right, bottom = box
    keep[:, top:bottom, left:right] = 0
    return keep


# ------------------------------------------------------------------------------ placement


def in_crop(place: Tensor, points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Map points of the drawn picture, in shares of its side, to pixels of the crop."""
    theta = place.double().numpy()
    placed = (points * 2 - 1) @ theta[:, :2].T + theta[:, 2]
    return (placed + 1) / 2 * np.array(size[::-1])


CORNERS = np.array(DRAWN_BOX).reshape(2, 2)


@pytest.mark.parametrize("size", [(SIZE, SIZE), (256, 256), (120, 200)])
def test_upright_faces_fill_the_hole(size: tuple[int, int]) -> None:
    # As wide, for its height, as the box of drawn faces.
    box = (20, 9, 20 + 59, 9 + 76)
    place = placement(keep_with_hole(box, size)[None])
    assert place.shape == (1, 2, 3)
    found = in_crop(place[0], CORNERS, size).ravel()
    np.testing.assert_allclose(found, box, atol=0.3)


@pytest.mark.parametrize("box", [(10, 20, 90, 60), (50, 0, 60, 128), (0, 0, 3, 3)])
def test_other_holes_keep_centre_and_area(box: tuple[int, int, int, int]) -> None:
    place = placement(keep_with_hole(box)[None])
    low, high = in_crop(place[0], CORNERS, (SIZE, SIZE))
    hole = np.array(box, float).reshape(2, 2)
    np.testing.assert_allclose((low + high) / 2, hole.mean(0), atol=1e-4)
    assert np.prod(high - low) == pytest.approx(np.prod(hole[1] - hole[0]), rel=1e-4)
    linear = place[0, :, :2]
    assert torch.equal(linear, torch.diag(linear[0, 0].repeat(2)))  # upright, undistorted


def test_every_frame_has_its_place_and_no_hole_is_the_whole_frame() -> None:
    boxes = [(10, 20, 70, 90), (30, 25, 90, 95)]
    masks = torch.stack([*map(keep_with_hole, boxes), torch.ones(1, SIZE, SIZE)])
    places = placement(masks)
    shift = in_crop(places[1], CORNERS, (SIZE, SIZE)) - in_crop(places[0], CORNERS, (SIZE, SIZE))
    np.testing.assert_allclose(shift, [[20, 5]] * 2, atol=1e-4)
    whole = placement(keep_with_hole((0, 0, SIZE, SIZE))[None])
    torch.testing.assert_close(places[2], whole[0])


@pytest.mark.parametrize("size", [(SIZE, SIZE), (120, 200)])
@pytest.mark.parametrize("roll", [0.0, 25.0, -140.0])
def test_landmarks_place_faces_as_alignment_does(size: tuple[int, int], roll: float) -> None:
    five = five_points(rotated(aligned_mesh(90), roll, (45, 45))) + np.array([20.0, 12.0])
    marks = torch.from_numpy(np.stack([five, five + 7.0])).float()
    places = placement(torch.ones(2, 1, *size), marks)
    unit = np.array([[0, 0], [1, 0], [0.3, 0.8]])
    for place, points in zip(places, marks.double().numpy(), strict=True):
        matrix = align_matrix(points, 1)
        crop = in_crop(place, unit, size)
        np.testing.assert_allclose(crop @ matrix[:, :2].T + matrix[:, 2], unit, atol=1e-5)


def test_a_face_where_it_would_be_drawn_is_left_there() -> None:
    marks = torch.from_numpy(five_points(aligned_mesh(SIZE)))[None]
    place = placement(torch.ones(1, 1, SIZE, SIZE), marks)
    torch.testing.assert_close(place, torch.eye(2, 3)[None], atol=1e-5, rtol=0)


# ------------------------------------------------------------------------------ generator


@functools.cache
def shared() -> FacePriorGenerator:
    """The generator as shipped; tests that change it take a copy."""
    return FacePriorGenerator(image_size=SIZE).eval()


def changed(**arguments: Any) -> FacePriorGenerator:
    """A generator with another encoder than the shipped one."""
    generator = FacePriorGenerator(image_size=SIZE, **arguments).eval()
    with torch.no_grad():
        generator.encoder.output.bias.add_(0.5)
        generator.encoder.features[0][1].running_mean.add_(0.01)
    return generator


def clips(n_clips: int = 2, n_frames: int = 2) -> tuple[Tensor, Tensor]:
    """Conditions and masks; all frames differ."""
    random = torch.Generator().manual_seed(7)
    small = torch.rand(n_clips * n_frames, 3, 8, 8, generator=random) * 2 - 1
    frames = torch.nn.functional.interpolate(small, size=(SIZE, SIZE), mode="bilinear")
    keep = keep_with_hole((34, 26, 34 + 59, 26 + 76)).expand(n_clips, n_frames, 1, -1, -1)
    return frames.view(n_clips, n_frames, 3, SIZE, SIZE) * keep, keep.clone()


def latents(n: int, seed: int = 0) -> Tensor:
    return torch.randn(n, 512, generator=torch.Generator().manual_seed(seed))


def drawn(generator: Any, *arguments: Any, **more: Any) -> Tensor:
    with torch.no_grad():
        raw: Tensor = generator(*arguments, **more)
    return raw


@pytest.mark.assets
def test_frames_of_a_clip_share_one_face_and_clips_do_not() -> None:
    condition, keep = clips(2, 3)
    raw = drawn(shared(), condition, keep, latents(2))
    assert raw.shape == condition.shape
    assert (raw[:, 1:] - raw[:, :1]).abs().max() < 1e-5
    assert (raw[0] - raw[1]).abs().mean() > 0.05
    one = drawn(shared(), condition[1:], keep[1:], latents(2)[1:])
    torch.testing.assert_close(one, raw[1:], rtol=1e-3, atol=1e-3)


@pytest.mark.assets
def test_the_context_says_who_fits() -> None:
    condition, keep = clips(1, 2)
    z = latents(1)
    raw = drawn(shared(), condition, keep, z)
    assert (drawn(shared(), -condition, keep, z) - raw).abs().mean() > 0.02
    # Frames count alike, in whatever order.
    swapped = drawn(shared(), condition.flip(1), keep, z)
    assert (swapped - raw).abs().max() < 1e-3
    first = drawn(shared(), condition[:, :1], keep[:, :1], z)
    assert (first - raw[:, :1]).abs().max() > 0.01


@pytest.mark.assets
def test_latents_choose_among_those_who_fit() -> None:
    condition, keep = clips(1, 1)
    raw = drawn(shared(), condition, keep, latents(1))
    assert torch.equal(drawn(shared(), condition, keep, latents(1)), raw)
    assert (drawn(shared(), condition, keep, latents(1, 1)) - raw).abs().mean() > 0.05
    assert torch.equal(drawn(shared(), condition, keep, latents(1, 1), latents(1)), raw)  # w wins
    torch.manual_seed(3)
    of_seed = drawn(shared(), condition, keep)
    assert not torch.equal(drawn(shared(), condition, keep), of_seed)
    torch.manual_seed(3)
    assert torch.equal(drawn(shared(), condition, keep), of_seed)


@pytest.mark.assets
def test_strength_is_the_share_of_the_spread() -> None:
    condition, keep = clips(1, 1)
    generator = copy.copy(shared())
    generator.strength = 0.0
    likeliest = drawn(generator, condition, keep, latents(1))
    assert torch.equal(drawn(generator, condition, keep, latents(1, 1)), likeliest)
    middle = shared().style_centers()
    assert middle is not None
    assert torch.equal(drawn(shared(), condition, keep, w=middle), likeliest)
    assert shared().style_centers(typical=True) is None


@pytest.mark.assets
def test_picture_is_that_of_the_guess_plus_the_spread() -> None:
    generator, z = shared(), latents(1)
    condition, keep = clips(1, 1)
    marks = torch.from_numpy(five_points(aligned_mesh(SIZE))).float()[None, None]
    raw = drawn(generator, condition, keep, z, conditions={"landmarks": marks})
    with torch.no_grad():
        guesses = generator.guess_clip(condition, keep, {"landmarks": marks})
    assert guesses.shape == (1, 1, 512)
    guess = guesses[0, 0].double().numpy()
    root = np.linalg.cholesky(generator.model.spread + 1e-4 * np.eye(512))
    u = torch.from_numpy(guess + 0.9 * root @ z[0].double().numpy()).float()
    expected = generator.synthesis(LatentSpace.load().color(u[None]), SIZE)
    assert (raw[0] - expected).abs().max() < 0.01  # at its own place


@pytest.mark.assets
def test_the_guess_looks_at_the_aligned_face() -> None:
    generator = shared()
    condition, keep = clips(1, 1)
    crop, mask = condition[0, :, :, 16:112, 16:112], keep[0, :, :, 16:112, 16:112]
    marks = torch.from_numpy(five_points(aligned_mesh(96))).float()[None, None]
    with torch.no_grad():
        guess = generator.guess_clip(crop[None], mask[None], {"landmarks": marks})[0]
        torch.testing.assert_close(guess, generator.encoder(crop, mask), rtol=1e-3, atol=1e-3)
        # Beyond the crop nothing is known: a face that fills more than the crop.
        large = generator.guess_clip(crop[None], mask[None], {"landmarks": marks * 2 - 48})[0]
        frame = torch.zeros(1, 1, 4, 192, 192)
        frame[..., 48:144, 48:144] = torch.cat([crop, mask], 1)
        landmarks = {"landmarks": marks * 2}
        padded = generator.guess_clip(frame[:, :, :3], frame[:, :, 3:], landmarks)[0]
    torch.testing.assert_close(large, padded, rtol=1e-3, atol=1e-3)
    assert (large - guess).abs().max() > 0.1


class Spy(torch.nn.Module):
    """Keeps what an encoder is shown."""

    def forward(self, aligned: Tensor, known: Tensor) -> Tensor:
        self.aligned, self.known = aligned, known
        return known.new_zeros(len(known), 512)


@pytest.mark.assets
def test_pixels_at_the_hole_keep_their_colour() -> None:
    _, keep = clips(1, 2)
    spy, color = Spy(), torch.tensor([0.9, -0.5, 0.3]).view(3, 1, 1)
    assert shared().guess_clip(color * keep, keep, encoder=spy).shape == (1, 2, 512)
    mixed = (spy.known > 0.01) & (spy.known < 0.99)
    assert mixed.any()
    for level, shown in zip(color.flatten(), spy.aligned.unbind(1), strict=True):
        assert (shown[:, None][spy.known > 0.01] - level).abs().max() < 1e-4
        assert not shown[:, None][spy.known == 0].any()


@pytest.mark.assets
def test_holes_and_landmarks_move_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = shared()
    monkeypatch.setattr(generator.encoder, "forward", lambda x, known: torch.zeros(len(x), 512))
    z, (left, top, right, bottom) = latents(1), (34, 26, 34 + 59, 26 + 76)
    keeps = [
        keep_with_hole((left + x, top + y, right + x, bottom + y)) for x, y in [(0, 0), (9, 4)]
    ]
    keep = torch.stack(keeps)[None]
    condition = torch.zeros(1, 2, 3, SIZE, SIZE)
    raw = drawn(generator, condition, keep, z)[0]
    inner = (raw[1, :, 34:112, 29:112] - raw[0, :, 30:108, 20:103]).abs()
    assert inner.max() < 1e-3
    five = five_points(aligned_mesh(SIZE))
    half = (five - SIZE / 2) / 2 + SIZE / 2  # a face of half the size in the middle
    marks = torch.from_numpy(np.stack([five, half])).float()[None]
    full, small = drawn(generator, condition, keep, z, conditions={"landmarks": marks})[0]
    coarse = torch.nn.functional.avg_pool2d(full[None], 2)[0]
    assert (small[:, 32:96, 32:96] - coarse).abs().max() < 0.05
    border = small[:, 40:90, 31:32].expand(-1, -1, 20)
    torch.testing.assert_close(small[:, 40:90, 8:28], border, rtol=0, atol=0.1)  # goes on outside
    assert border.abs().max() > 0.3


@pytest.mark.assets
def test_what_was_in_the_hole_does_not_count() -> None:
    condition, keep = clips(1, 2)
    z = latents(1)
    raw = drawn(shared(), condition, keep, z)
    garbage = torch.where(keep == 0, 5.0, condition)
    assert (drawn(shared(), garbage, keep, z) - raw).abs().max() < 1e-5


@pytest.mark.assets
def test_gradient_reaches_the_encoder_and_stays_off_the_synthesis() -> None:
    generator = copy.deepcopy(shared()).train()
    condition, keep = clips(1, 2)
    before = {k: v.clone() for k, v in generator.encoder.named_buffers()}
    generator(condition, keep, latents(1)).square().mean().backward()
    groups = generator.parameter_groups()
    assert all(p.grad is not None for p in groups["encoder"])
    assert sum(float(p.grad.abs().sum()) for p in groups["encoder"] if p.grad is not None) > 0
    assert all(p.grad is None and not p.requires_grad for p in groups["synthesis"])
    assert sum(map(len, groups.values())) == len(list(generator.parameters()))
    assert all(torch.equal(v, before[k]) for k, v in generator.encoder.named_buffers())


@pytest.mark.assets
def test_synthesis_is_trained_when_asked() -> None:
    generator = changed(train_synthesis=True)
    condition, keep = clips(1, 1)
    generator(condition, keep, latents(1)).square().mean().backward()
    assert float(generator.synthesis.start.grad.abs().sum()) > 0
    assert any(name.startswith("synthesis.") for name in generator.stored_state())


@pytest.mark.assets
def test_single_frames_are_drawn_alike() -> None:
    condition, keep = clips(2, 1)
    w = latents(2)
    raw = drawn(shared(), condition, keep, w=w)
    with torch.no_grad():
        assert torch.equal(shared().draw(condition[:, 0], keep[:, 0], w, {}), raw[:, 0])


@pytest.mark.assets
def test_median_guess_over_views() -> None:
    random = torch.Generator().manual_seed(1)
    views = [
        (torch.rand(3, 96, 96, generator=random) * 2 - 1, torch.ones(1, 96, 96)) for _ in range(3)
    ]
    guesses = [shared().encode([view]) for view in views]
    assert guesses[0].shape == (512,)
    np.testing.assert_allclose(shared().encode(views), np.median(guesses, 0), atol=1e-4)


@pytest.mark.assets
def test_by_name() -> None:
    generator = load_generator(NAME)
    assert isinstance(generator, FacePriorGenerator)
    assert not generator.training
    assert generator.config["kind"] == NAME
    state = shared().encoder.state_dict()
    assert all(torch.equal(v, state[k]) for k, v in generator.encoder.state_dict().items())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image_size": 100}, r"`image_size`.*'100'"),
        ({"strength": 2.5}, r"`strength`.*2\.5"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FacePriorGenerator(**arguments)


def test_missing_weights() -> None:
    with pytest.raises(FileNotFoundError, match=r"No weights of .*none\.safetensors"):
        FacePriorGenerator(weights="none.safetensors")


# --------------------------------------------------------------------------- checkpoints


@pytest.mark.assets
def test_stored_state_rebuilds_the_generator() -> None:
    generator = changed(strength=0.5)
    state = generator.stored_state()
    assert not any(name.startswith("synthesis.") for name in state)
    again = FacePriorGenerator.from_state(generator.config, state, "memory")
    assert not again.training
    assert again.config == generator.config
    inputs = (*clips(1, 1), latents(1))
    raw = drawn(generator, *inputs)
    assert torch.equal(drawn(again, *inputs), raw)
    assert (drawn(shared(), *inputs) - raw).abs().max() > 0.01
    state.pop("encoder.output.bias")
    with pytest.raises(ValueError, match=r"(?s)in memory does not fit.*output\.bias"):
        FacePriorGenerator.from_state(generator.config, state, "memory")


@pytest.mark.assets
@pytest.mark.parametrize("train_synthesis", [False, True])
@pytest.mark.parametrize("form", ["export", "training"])
def test_files_rebuild_the_generator(tmp_path: Path, train_synthesis: bool, form: str) -> None:
    generator = changed(train_synthesis=train_synthesis, strength=0.7)
    if train_synthesis:
        with torch.no_grad():
            generator.synthesis.start.add_(0.1)
    if form == "export":
        path = export_generator(generator, tmp_path / "g.safetensors", "safetensors", {"data": "x"})
        with safe_open(str(path), framework="pt") as file:
            assert file.metadata()["data"] == "x"
            assert json.loads(file.metadata()[CONFIG_KEY]) == generator.config
    else:  # a checkpoint of VideoFineTuner
        path = tmp_path / "last.ckpt"
        state = {f"generator.{k}": v + 1 for k, v in generator.state_dict().items()}
        state |= {f"generator_ema.{k}": v for k, v in generator.state_dict().items()}
        torch.save({"state_dict": state, CONFIG_KEY: generator.config}, path)
    loaded = load_generator(path)
    assert loaded.config == generator.config
    inputs = (*clips(1, 1), latents(1))
    assert torch.equal(drawn(loaded, *inputs), drawn(generator, *inputs))
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.assets
def test_exported_program_guesses_the_same(tmp_path: Path) -> None:
    generator = changed()
    path = export_generator(generator, tmp_path / "encoder.pt", "torchscript")
    program = torch.jit.load(path)
    random = torch.Generator().manual_seed(2)
    for n in (1, 3):
        aligned = torch.rand(n, 3, 96, 96, generator=random) * 2 - 1
        known = (torch.rand(n, 1, 96, 96, generator=random) > 0.4).float()
        with torch.no_grad():
            difference = program(aligned, known) - generator.encoder(aligned, known)
        assert difference.abs().max() < 1e-4


@pytest.mark.assets
def test_there_is_no_form_for_deep_privacy2(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"`form`.*'dp2'"):
        export_generator(shared(), tmp_path / "g.ckpt", "dp2")
    assert list(tmp_path.iterdir()) == []
