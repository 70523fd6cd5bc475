import json
from pathlib import Path

import numpy as np
import pytest
import torch

from dp3_lightning.discriminators import StyleGAN2Discriminator
from dp3_lightning.generators import StyleGANUnet
from dp3_lightning.generators.layers import EqualizedConv2d, EqualizedLinear
from dp3_lightning.generators.stylegan_unet import keypoint_maps

DATA = Path(__file__).parents[1] / "data"
GOLDENS = ["G_fdf", "G_cse", "G_kp"]


def load(name: str) -> dict[str, np.ndarray]:
    with np.load(DATA / "goldens" / f"{name}.npz") as archive:
        return dict(archive)


def tensors(golden: dict, prefix: str) -> dict[str, torch.Tensor]:
    return {
        k[len(prefix) :]: torch.from_numpy(v) for k, v in golden.items() if k.startswith(prefix)
    }


def build(golden: dict) -> StyleGANUnet:
    net = StyleGANUnet(**json.loads(str(golden["config"])))
    net.load_state_dict(tensors(golden, "sd/"))
    return net.eval()


@pytest.mark.parametrize("name", GOLDENS)
def test_images_match_the_recorded_ones(name: str) -> None:
    golden = load(name)
    net, batch = build(golden), tensors(golden, "in/")
    inputs = {k: v for k, v in batch.items() if k not in ("fixed", "w_centers", "w_indices", "s")}
    no_z = {k: v for k, v in inputs.items() if k != "z"}
    net.style_net.set_centers(batch["w_centers"])
    with torch.no_grad():
        w = net.style_net(batch["z"])
        truncated = {
            "out/img": w,
            "out/img_trunc0": net.style_net.get_truncated(0, z=batch["z"]),
            "out/img_trunc0.5": net.style_net.get_truncated(0.5, z=batch["z"]),
            "out/img_mm0.25": net.style_net.multi_modal_truncate(
                0.25, batch["w_indices"], batch["z"]
            ),
        }
        images = {key: net(**no_z, w=style)["img"] for key, style in truncated.items()}
        images["z"] = net(**inputs)["img"]
        if "s" in batch:
            images["out/img_s"] = net(**inputs, s=iter(batch["s"]))["img"]
    np.testing.assert_allclose(w, golden["out/w"], atol=2e-5)
    for key, image in images.items():
        np.testing.assert_allclose(image, golden["out/img" if key == "z" else key], atol=2e-5)


@pytest.mark.parametrize("name", GOLDENS)
def test_encoder_outputs_can_be_reused(name: str) -> None:
    golden = load(name)
    net, batch = build(golden), tensors(golden, "in/")
    keys = ("embedding", "keypoints", "E_mask")
    extra = {k: batch[k] for k in keys if k in batch}
    with torch.no_grad():
        x, features = net.encode(batch["condition"], batch["mask"], **extra)
        image = net(batch["condition"], batch["mask"], z=batch["z"], x=x, unet_features=features)
    np.testing.assert_allclose(x, golden["out/enc"], atol=2e-5)
    np.testing.assert_allclose(image["img"], golden["out/img"], atol=2e-5)
    with pytest.raises(ValueError, match="eval mode"):
        net.train()(batch["condition"], batch["mask"], z=batch["z"], x=x, unet_features=features)


@pytest.mark.parametrize("name", GOLDENS)
def test_gradients_match_the_recorded_ones(name: str) -> None:
    golden, grads = load(name), load(f"{name}.grads")
    net, batch = build(golden), tensors(golden, "in/")
    extra = {k: batch[k] for k in ("embedding", "keypoints", "E_mask") if k in batch}
    condition, z = batch["condition"].requires_grad_(), batch["z"].requires_grad_()
    w = net.style_net(z)
    w.retain_grad()
    image = net(condition, batch["mask"], w=w, **extra)["img"]
    (image * batch["fixed"]).sum().backward()
    for key, parameter in net.named_parameters():
        expected = grads[f"grad/{key}"]
        error = np.abs(parameter.grad.numpy() - expected).max() / (np.abs(expected).max() + 1e-12)
        assert error < 1e-4, (key, error)
    for key, value in {"condition": condition, "z": z, "w": w}.items():
        expected = grads[f"grad_in/{key}"]
        np.testing.assert_allclose(value.grad, expected, atol=1e-4 * np.abs(expected).max())


def test_w_avg_follows_the_batch_mean() -> None:
    golden = load("G_fdf")
    net, batch = build(golden).train(), tensors(golden, "in/")
    # The recorded state holds w_avg after its update already, so the formula is the reference.
    expected = 0.998 * golden["out/w_avg_after_update"] + 0.002 * golden["out/w"].mean(axis=0)
    net(batch["condition"], batch["mask"], z=batch["z"], update_emas=True)
    np.testing.assert_allclose(net.style_net.w_avg, expected, atol=1e-6)


def test_mask_without_a_hole_gets_zero_gradient() -> None:
    net = StyleGANUnet.from_preset("tiny32")
    mask = torch.ones(2, 1, 32, 32)
    mask[0, :, 8:20, 8:20] = 0
    condition = torch.rand(2, 3, 32, 32) * mask
    image = net(condition, mask, z=torch.randn(2, 16))["img"]
    gradient = torch.autograd.grad(image[1].sum(), net.to_rgb.weight, retain_graph=True)[0]
    assert torch.equal(gradient, torch.zeros_like(gradient))
    image.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in net.parameters() if p.grad is not None)


@pytest.mark.parametrize(
    ("preset", "kind"),
    [
        *((n, "G") for n in ("fdf128", "fdf256", "fdh_cse", "fdh_nocse")),
        *((n, "D") for n in ("fdf128", "fdf256", "fdh_cse")),
    ],
)
def test_state_dict_has_upstreams_keys(preset: str, kind: str) -> None:
    listed = json.loads((DATA / "state_dicts" / f"{preset}.{kind}.json").read_text())
    cls = StyleGANUnet if kind == "G" else StyleGAN2Discriminator
    overrides = {"input_cse": False} if kind == "D" else {}
    with torch.device("meta"):
        net = cls.from_preset(preset, **overrides)
    assert {k: list(v.shape) for k, v in net.state_dict().items()} == listed["keys"]
    assert list(net.state_dict()) == list(listed["keys"])
    assert sum(p.numel() for p in net.parameters()) == listed["n_params"]


def test_layers_match_the_recorded_ones() -> None:
    golden = load("ops")
    cases = {k.split("/")[0] for k in golden if k.startswith("conv_")}
    assert len(cases) >= 10
    for case in cases:
        k, up, down, norm = (int(part[-1]) for part in case.split("_")[1:5])
        state = tensors(golden, f"{case}/sd/")
        w_dim = 6 if "affine.weight" in state else None
        layer = EqualizedConv2d(
            3, 5, k, gain=0.7, up=up, down=down, clamp=0.9, w_dim=w_dim, norm=bool(norm)
        )
        layer.load_state_dict(state)
        y = layer(torch.from_numpy(golden[f"{case}/x"]), torch.from_numpy(golden[f"{case}/w"]))
        np.testing.assert_allclose(y.detach(), golden[f"{case}/y"], atol=1e-5, err_msg=case)
    maps = keypoint_maps(torch.from_numpy(golden["kp/keypoints"]), (12, 20))
    np.testing.assert_array_equal(maps, golden["kp/spatial_12x20"])


@pytest.mark.parametrize("activation", ["linear", "lrelu", "relu", "swish"])
def test_linear_layers_match_the_recorded_ones(activation: str) -> None:
    golden = load("ops")
    state = tensors(golden, f"fc_{activation}/")
    state = {key: state[key] for key in ("weight", "bias")}
    layer = EqualizedLinear(7, 5, activation=activation, lr_multiplier=0.01)
    layer.load_state_dict(state)
    y = layer(torch.from_numpy(golden[f"fc_{activation}/x"]))
    np.testing.assert_allclose(y.detach(), golden[f"fc_{activation}/y"], atol=1e-5)


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match=r"fdf129.*fdf128"):
        StyleGANUnet.from_preset("fdf129")
    net = StyleGANUnet.from_preset("tiny32")
    with pytest.raises(ValueError, match=r"mask.*\(1, 1, 16, 32\)"):
        net(torch.zeros(1, 3, 32, 32), torch.zeros(1, 1, 16, 32))
    with pytest.raises(ValueError, match="n_middle_blocks"):
        StyleGANUnet.from_preset("tiny32", n_middle_blocks=1)
    with pytest.raises(ValueError, match="w_centers"):
        net.style_net.multi_modal_truncate(0.5, n=1)
