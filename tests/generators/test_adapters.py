from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dp3_lightning.generators import (
    BlurGenerator,
    PixelateGenerator,
    SolidGenerator,
    StyleGANUnet,
    StyleGANUnetAdapter,
    composite,
    mask_output,
)
from tests.training_fixtures import batch_of


def inputs(n_clips: int = 2, n_frames: int = 3) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    batch = batch_of(n_clips, n_frames)
    return batch["clip"], batch["clip"] * batch["keep_mask"], batch["keep_mask"]


def test_frames_of_a_clip_share_the_latent_and_are_drawn_singly() -> None:
    adapter = StyleGANUnetAdapter("tiny32").eval()
    _, condition, mask = inputs()
    z = torch.randn(2, adapter.z_dim)
    raw = adapter(condition, mask, z)
    assert raw.shape == condition.shape
    for clip in range(2):
        for frame in range(3):
            image = adapter.net(
                condition[clip, frame][None], mask[clip, frame][None], z=z[clip][None]
            )
            pasted = composite(condition[clip, frame], mask[clip, frame], raw[clip, frame])
            torch.testing.assert_close(image["img"][0], pasted, rtol=1e-4, atol=1e-5)


def test_style_wins_over_latent() -> None:
    adapter = StyleGANUnetAdapter("tiny32").eval()
    _, condition, mask = inputs()
    z = torch.randn(2, 16)
    w = adapter.net.style_net(torch.randn(2, 16))
    assert torch.equal(adapter(condition, mask, z, w), adapter(condition, mask, w=w))
    assert not torch.equal(adapter(condition, mask, z), adapter(condition, mask, w=w))


def test_further_inputs_are_folded_with_time() -> None:
    net = StyleGANUnet.from_preset(
        "tiny32", input_keypoints=True, n_keypoints=7, input_keypoint_indices=[0, 1]
    )
    _, condition, mask = inputs()
    points = torch.rand(2, 3, 7, 3)
    z = torch.randn(2, 16)
    adapter = StyleGANUnetAdapter(net)
    raw = adapter(condition, mask, z, conditions={"keypoints": points})
    assert raw.shape == condition.shape
    with pytest.raises(ValueError, match="keypoints"):
        adapter(condition, mask, z)


def test_shapes_that_do_not_belong_together() -> None:
    adapter = StyleGANUnetAdapter("tiny32")
    _, condition, mask = inputs()
    with pytest.raises(ValueError, match=r"\(2, 3, 1, 32, 32\).*got \(2, 3, 32, 32\)"):
        adapter(condition, mask[:, :, 0])
    with pytest.raises(ValueError, match=r"\(32, 32\).*got \(16, 16\)"):
        adapter(condition[..., :16, :16], mask[..., :16, :16])


def test_parts_of_the_generator_are_disjoint_and_complete() -> None:
    adapter = StyleGANUnetAdapter("tiny32")
    groups = adapter.parameter_groups()
    assert set(groups) == {"mapping", "encoder", "decoder"}
    listed = [id(p) for group in groups.values() for p in group]
    assert sorted(listed) == sorted(id(p) for p in adapter.parameters())


@pytest.mark.parametrize(
    "generator",
    [BlurGenerator((32, 32), 3.0), PixelateGenerator((32, 32), 4), SolidGenerator((32, 32), -1.0)],
    ids=lambda g: type(g).__name__,
)
def test_traditional_generators_hide_the_face(generator: torch.nn.Module) -> None:
    clip, condition, mask = inputs()
    raw = generator(condition, mask, conditions={"clip": clip})
    assert raw.shape == clip.shape
    hole = (1 - mask).expand_as(clip).bool()
    assert (raw - clip)[hole].abs().mean() > 0.02
    detail = (raw[..., 1:] - raw[..., :-1]).abs().mean()
    assert detail < (clip[..., 1:] - clip[..., :-1]).abs().mean()
    if not isinstance(generator, SolidGenerator):
        with pytest.raises(ValueError, match="clip"):
            generator(condition, mask)


def test_mask_output_can_be_differentiated_twice() -> None:
    raw = torch.randn(1, 1, 4, 4, dtype=torch.float64, requires_grad=True)
    mask = torch.ones(1, 1, 4, 4, dtype=torch.float64)
    mask[..., 1:3, 1:3] = 0
    out = mask_output(torch.zeros_like(mask), mask, raw)
    (first,) = torch.autograd.grad((out**3).sum(), raw, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), raw)
    inside = mask == 0
    torch.testing.assert_close(first[inside], 3 * raw[inside] ** 2 * 4)  # the hole is a quarter
    torch.testing.assert_close(second[inside], 6 * raw[inside] * 16)
    assert second[~inside].abs().sum() == 0


# ---------------------------------------------------------------------- weights


def saved(net: StyleGANUnet, path: Path, layout: str) -> Path:
    state = net.state_dict()
    checkpoints = {
        "bare": state,
        "inference": {"EMA_generator": state, "running_average_generator": {}},
        "old": {"running_average_generator": state},
        "lightning": {"state_dict": {f"generator_ema.net.{k}": v for k, v in state.items()}},
    }
    torch.save(checkpoints[layout], path)
    return path


@pytest.mark.parametrize("layout", ["bare", "inference", "old", "lightning"])
def test_weights_of_every_layout_load(tmp_path: Path, layout: str) -> None:
    net = StyleGANUnet.from_preset("tiny32")
    adapter = StyleGANUnetAdapter("tiny32", weights=str(saved(net, tmp_path / "w.ckpt", layout)))
    for key, value in net.state_dict().items():
        assert torch.equal(adapter.net.state_dict()[key], value)


def test_centres_come_along(tmp_path: Path) -> None:
    net = StyleGANUnet.from_preset("tiny32")
    centers = torch.randn(5, 16)
    torch.save({"EMA_generator": net.state_dict(), "w_centers": centers}, tmp_path / "w.ckpt")
    adapter = StyleGANUnetAdapter("tiny32", weights=str(tmp_path / "w.ckpt"))
    assert torch.equal(adapter.net.style_net.w_centers, centers)


def test_wrong_keys_are_listed_and_nothing_is_loaded(tmp_path: Path) -> None:
    state = StyleGANUnet.from_preset("tiny32").state_dict()
    state["to_rgb.bias"] = torch.zeros(7)
    state["surplus"] = state.pop("from_rgb.bias")
    torch.save(state, tmp_path / "w.ckpt")
    with pytest.raises(
        ValueError, match=r"(?s)3 problems.*missing from_rgb.bias.*surplus.*to_rgb.bias.*\(7,\)"
    ):
        StyleGANUnetAdapter("tiny32", weights=str(tmp_path / "w.ckpt"))


class Payload:
    ran = False

    def __reduce__(self) -> tuple:
        return (setattr, (Payload, "ran", True))


def test_pickled_code_is_refused_and_not_run(tmp_path: Path) -> None:
    torch.save({"EMA_generator": {}, "x": Payload()}, tmp_path / "w.ckpt")
    with pytest.raises(ValueError, match="refused"):
        StyleGANUnetAdapter("tiny32", weights=str(tmp_path / "w.ckpt"))
    assert not Payload.ran


def test_damaged_absent_and_empty_files(tmp_path: Path) -> None:
    path = saved(StyleGANUnet.from_preset("tiny32"), tmp_path / "w.ckpt", "bare")
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ValueError, match=r"Cannot read .*w.ckpt"):
        StyleGANUnetAdapter("tiny32", weights=str(path))
    with pytest.raises(FileNotFoundError, match=r"nowhere.ckpt.*fdf128.*random"):
        StyleGANUnetAdapter("tiny32", weights="nowhere.ckpt")
    torch.save({"epoch": 3}, path)
    with pytest.raises(ValueError, match=r"no generator.*epoch"):
        StyleGANUnetAdapter("tiny32", weights=str(path))
