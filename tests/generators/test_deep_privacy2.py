from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dp3_lightning.discriminators import DiscriminatorAdapter
from dp3_lightning.generators import (
    DeepPrivacy2Generator,
    StyleGANUnet,
    StyleGANUnetAdapter,
    load_generator,
)
from dp3_lightning.generators.export import export_generator
from dp3_lightning.generators.presets import GENERATOR_PRESETS
from dp3_lightning.modules import VideoFineTuner
from tests.training_fixtures import batch_of

ARGUMENTS: dict[str, Any] = {
    "imsize": [32, 32],
    "cnum": 4,
    "max_cnum_mul": 2,
    "min_fmap_resolution": 8,
    "im_channels": 3,
    "z_channels": 16,
    "w_dim": 16,
    "mask_output": True,
    "scale_grad": True,
    "conv_clamp": 256,
    "input_cse": False,
    "cse_nc": None,
    "input_keypoints": False,
    "n_keypoints": None,
    "input_keypoint_indices": (),
    "n_middle_blocks": 0,
    "fix_errors": True,
}


class Triple(nn.Module):
    """Like TriA-GAN: no styles, wants the picture, returns its drawing as `unmasked`."""

    imsize, z_channels = (8, 8), 4

    def forward(self, condition: Tensor, mask: Tensor, img: Tensor, z: Tensor) -> dict[str, Tensor]:
        raw = condition + z.mean(dim=1).view(-1, 1, 1, 1)
        return {"img": mask * img + (1 - mask) * raw, "unmasked": raw}


def clip(n_clips: int = 2, side: int = 8) -> tuple[Tensor, Tensor]:
    keep = torch.ones(n_clips, 3, 1, side, side)
    keep[..., 2:6, 2:6] = 0
    return torch.rand(n_clips, 3, 3, side, side) * keep, keep


def test_network_without_styles_gets_the_latent_and_no_hidden_pixels() -> None:
    adapter = DeepPrivacy2Generator.wrap(Triple())
    assert (adapter.image_size, adapter.z_dim) == ((8, 8), 4)
    condition, keep = clip()
    z = torch.randn(2, 4)
    raw = adapter(condition, keep, z)
    assert torch.allclose(raw, condition + z.mean(dim=1).view(2, 1, 1, 1, 1))
    assert adapter.latent_sum(z) is None


def test_native_object_is_wrapped_like_an_installed_one() -> None:
    net = StyleGANUnet.from_preset("tiny32").eval()
    wrapped, native = DeepPrivacy2Generator.wrap(net), StyleGANUnetAdapter(net)
    batch = batch_of()
    arguments = (batch["clip"] * batch["keep_mask"], batch["keep_mask"], torch.randn(2, 16))
    assert torch.equal(wrapped(*arguments), native(*arguments))
    names = [{k: len(v) for k, v in g.parameter_groups().items()} for g in (wrapped, native)]
    assert names[0] == names[1]


@pytest.mark.parametrize("missing", ["imsize", "z_channels"])
def test_object_that_does_not_say_its_size(missing: str) -> None:
    attributes = {"imsize": (8, 8), "z_channels": 4}
    del attributes[missing]
    net = type("Silent", (nn.Module,), {**attributes, "forward": Triple.forward})()
    with pytest.raises(ValueError, match=r"Silent does not say.*pass `(image_size|z_dim)`"):
        DeepPrivacy2Generator.wrap(net)


def test_absence_of_dp2_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileNotFoundError, match="No DeepPrivacy2 configuration"):
        DeepPrivacy2Generator.from_config(tmp_path / "none.py")
    (tmp_path / "config.py").write_text("")
    for name in ("dp2", "dp2.infer", "dp2.utils"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ModuleNotFoundError, match=r"--no-deps.*non-commercial"):
        DeepPrivacy2Generator.from_config(tmp_path / "config.py")


# ---------------------------------------------------------------------- with the real one


def upstream_class() -> Any:
    try:
        return importlib.import_module("dp2.generator.stylegan_unet").StyleGANUnet
    except ImportError as error:
        pytest.skip(f"dp2 is not importable: {error}")


def upstream_and_native() -> tuple[nn.Module, StyleGANUnet]:
    torch.manual_seed(0)
    theirs = upstream_class()(**ARGUMENTS)
    ours = StyleGANUnet.from_preset("tiny32")
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


@pytest.mark.upstream
def test_upstream_draws_the_same() -> None:
    theirs, ours = (net.eval() for net in upstream_and_native())
    batch = batch_of()
    condition, mask = ((batch["clip"] * batch["keep_mask"])[:, 0], batch["keep_mask"][:, 0])
    z = torch.randn(2, 16)
    expected = theirs(condition=condition, mask=mask, z=z)["img"]
    assert (ours(condition=condition, mask=mask, z=z)["img"] - expected).abs().max() < 2e-5


@pytest.mark.upstream
def test_upstream_trains_one_step_with_the_same_losses() -> None:
    from tests.modules.test_video_fine_tuner import fit

    theirs, ours = upstream_and_native()
    logs = []
    for generator in (DeepPrivacy2Generator.wrap(theirs), StyleGANUnetAdapter(ours)):
        torch.manual_seed(1)
        trainer = fit(VideoFineTuner(generator, DiscriminatorAdapter("tiny32")), max_steps=2)
        logs.append({k: float(v) for k, v in trainer.callback_metrics.items()})
    assert logs[0].keys() == logs[1].keys()
    assert {"train/generator/adversarial", "train/discriminator/r1"} <= logs[0].keys()
    for name, value in logs[0].items():
        assert logs[1][name] == pytest.approx(value, rel=1e-4, abs=1e-4), name


@pytest.mark.upstream
def test_upstreams_loader_takes_our_export(tmp_path: Path) -> None:
    fresh = upstream_class()(**ARGUMENTS)
    infer = importlib.import_module("dp2.infer")
    theirs, ours = upstream_and_native()
    ours.style_net.set_centers(torch.randn(3, 16))
    path = export_generator(StyleGANUnetAdapter(ours), tmp_path / "g.ckpt", "dp2")
    infer.load_generator_state(torch.load(path, weights_only=True), fresh)
    assert torch.equal(fresh.style_net.w_centers, ours.style_net.w_centers)
    expected = dict(theirs.named_parameters())
    assert all(torch.equal(p, expected[name]) for name, p in fresh.named_parameters())


@pytest.mark.upstream
@pytest.mark.slow
@pytest.mark.parametrize("preset", ["fdf128", "fdh_nocse"])
def test_full_size_checkpoint_in_upstreams_format(tmp_path: Path, preset: str) -> None:
    torch.manual_seed(0)
    options = ARGUMENTS | GENERATOR_PRESETS[preset]
    options["imsize"] = list(options["imsize"])
    theirs = upstream_class()(**options).eval()
    content = {"running_average_generator": theirs.state_dict(), "w_centers": torch.randn(4, 512)}
    torch.save(content, tmp_path / "published.ckpt")
    ours = load_generator(tmp_path / "published.ckpt", preset).net
    height, width = options["imsize"]
    mask = torch.ones(1, 1, height, width)
    mask[..., height // 4 : -height // 4, width // 4 : -width // 4] = 0
    condition = (torch.rand(1, 3, height, width) * 2 - 1) * mask
    z = torch.randn(1, 512)
    with torch.no_grad():
        expected = theirs(condition=condition, mask=mask, z=z)["img"]
        drawn = ours(condition=condition, mask=mask, z=z)["img"]
    assert (drawn - expected).abs().max() < 2e-5
    assert torch.equal(ours.style_net.w_centers, content["w_centers"])


@pytest.mark.upstream
def test_upstreams_other_generators_are_reached() -> None:
    upstream_class()
    clip_of, keep = clip(1, 128)
    latent = torch.randn(1, 512)
    msg = importlib.import_module("dp2.generator.deep_privacy1").MSGGenerator().eval()
    first = DeepPrivacy2Generator.wrap(msg, image_size=(128, 128))
    drawn = first(clip_of, keep, latent, conditions={"keypoints": torch.rand(1, 3, 7, 2)})
    assert drawn.shape == clip_of.shape
    try:
        triagan = importlib.import_module("dp2.generator.triagan")
    except ImportError as error:
        pytest.skip(f"TriA-GAN's own requirements: {error}")
    style_net = importlib.import_module("dp2.generator.base").SG2StyleNet(64, 64)
    net = triagan.TriaGAN(
        imsize=[128, 128], im_channels=3, dim=8, dim_mults=(1, 2, 2), num_resnet_blocks=1,
        n_middle_blocks=0, z_channels=64, w_dim=64, norm_enc=True, norm_dec=True,
        use_maskrcnn_mask=False, input_keypoints=True, n_keypoints=17,
        input_keypoint_indices=[0, 1, 2], style_net=style_net,
    ).eval()  # fmt: skip
    second = DeepPrivacy2Generator.wrap(net)
    keypoints = torch.rand(1, 3, 17, 3)
    raws = [second(clip_of, keep, z, conditions={"keypoints": keypoints}) for z in latents()]
    assert raws[0].shape == clip_of.shape
    assert not torch.equal(raws[0], raws[1])


def latents() -> list[Tensor]:
    return [torch.full((1, 64), 0.5), torch.linspace(-1, 1, 64)[None]]
