import json
from pathlib import Path

import numpy as np
import pytest
import torch

from dp3_lightning.discriminators import (
    DiscriminatorAdapter,
    StyleGAN2Discriminator,
    minibatch_stddev,
)
from dp3_lightning.generators import StyleGANUnet
from dp3_lightning.losses.adversarial import (
    discriminator_adversarial_loss,
    epsilon_penalty,
    generator_adversarial_loss,
    r1_gradient_penalty,
)

GOLDENS = Path(__file__).parents[1] / "data" / "goldens"
LAMBDA = 5.0  # weight of R1 in the recorded steps, which have one every 16


def load(name: str) -> dict[str, np.ndarray]:
    with np.load(GOLDENS / f"{name}.npz") as archive:
        return dict(archive)


def tensors(golden: dict, prefix: str) -> dict[str, torch.Tensor]:
    return {
        k[len(prefix) :]: torch.from_numpy(v) for k, v in golden.items() if k.startswith(prefix)
    }


def build(golden: dict, config: str = "config", prefix: str = "sd/") -> StyleGAN2Discriminator:
    net = StyleGAN2Discriminator(**json.loads(str(golden[config])))
    net.load_state_dict(tensors(golden, prefix))
    return net


def test_scores_and_gradients_match_the_recorded_ones() -> None:
    golden = load("D_fdf")
    net, batch = build(golden), tensors(golden, "in/")
    image = batch["img"].requires_grad_()
    score = net(image, batch["condition"], batch["mask"])["score"]
    np.testing.assert_allclose(score.detach(), golden["out/score"], atol=2e-5)
    (score * batch["fixed"]).sum().backward()
    for key, parameter in net.named_parameters():
        expected = golden[f"grad/{key}"]
        error = np.abs(parameter.grad.numpy() - expected).max() / (np.abs(expected).max() + 1e-12)
        assert error < 1e-4, (key, error)


@pytest.mark.parametrize(("mask_out", "scale"), [(0, 0), (1, 0), (1, 1)])
def test_r1_matches_the_recorded_one(mask_out: int, scale: int) -> None:
    golden = load("D_fdf")
    net, batch = build(golden), tensors(golden, "in/")
    image = batch["img"].requires_grad_()
    score = net(image, batch["condition"], batch["mask"])["score"]
    penalty = r1_gradient_penalty(score, image, batch["mask"] if mask_out else None, bool(scale))
    recorded = golden[f"out/r1_pen_mask_out{mask_out}_scale{scale}"]
    np.testing.assert_allclose(penalty.detach().numpy() * LAMBDA * 16 / 2, recorded, rtol=1e-4)


def test_losses_match_the_recorded_step() -> None:
    golden = load("losses")
    batch = tensors(golden, "in/")
    net = build(golden, "D_config", "D_sd/")
    generator = StyleGANUnet(**json.loads(str(golden["G_config"])))
    generator.load_state_dict(tensors(golden, "G_sd/"))
    condition, mask = batch["condition"], batch["mask"]
    with torch.no_grad():
        fake = generator(condition, mask, z=batch["z_D"])["img"]
        fake_g = generator(condition, mask, z=batch["z_G"])["img"]
    image = batch["img"].requires_grad_()
    real_scores = net(image, condition, mask)["score"]
    fake_scores = net(fake, condition, mask)["score"]
    adversarial = discriminator_adversarial_loss(real_scores, fake_scores)
    epsilon = epsilon_penalty(real_scores)
    raw = r1_gradient_penalty(real_scores, image)
    np.testing.assert_allclose(adversarial.item(), golden["out/D_log_nogp/d_loss"], rtol=1e-5)
    np.testing.assert_allclose(epsilon.item(), golden["out/D_log_nogp/epsilon_penalty"], rtol=1e-5)
    loss = adversarial + 0.001 * epsilon
    np.testing.assert_allclose(loss.item(), golden["out/D_loss_nogp"], rtol=1e-5)
    np.testing.assert_allclose(
        raw.mean().item(), golden["out/D_log_gp/r1_gradient_penalty"], rtol=1e-3
    )
    ratio = (golden["out/D_loss_gp"] - golden["out/D_loss_nogp"]) / raw.mean().item()
    assert ratio == pytest.approx(LAMBDA * 16 / 2, rel=1e-3)
    score_g = net(fake_g, condition, mask)["score"]
    np.testing.assert_allclose(
        generator_adversarial_loss(score_g).item(), golden["out/G_loss"], rtol=1e-5
    )


def test_minibatch_stddev_matches_the_recorded_one() -> None:
    golden = load("ops")
    x, x3 = torch.from_numpy(golden["mbstd/x"]), torch.from_numpy(golden["mbstd/x3"])
    np.testing.assert_allclose(minibatch_stddev(x), golden["mbstd/y_group4"], atol=1e-6)
    np.testing.assert_allclose(minibatch_stddev(x, None), golden["mbstd/y_groupNone"], atol=1e-6)
    np.testing.assert_allclose(minibatch_stddev(x3), golden["mbstd/y3_group4"], atol=1e-6)


@pytest.mark.parametrize("n", [1, 2, 5, 6, 7])
def test_any_batch_size_works_and_groups_are_shared_by_all(n: int) -> None:
    x = torch.randn(n, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    y = minibatch_stddev(x)
    assert y.shape == (n, 4, 4, 4)
    if n > 1:
        assert (y[:, 3, 0, 0] > 1e-2).all()  # no sample is alone in a group
    y.sum().backward()
    assert torch.isfinite(x.grad).all()


def test_time_is_folded_clip_by_clip() -> None:
    adapter = DiscriminatorAdapter("tiny32")
    clip = torch.randn(4, 2, 3, 32, 32)
    mask = torch.ones(4, 2, 1, 32, 32)
    mask[..., 8:24, 8:24] = 0
    scores = adapter(clip, clip * mask, mask)
    one = adapter.net(img=clip[:, 1], condition=(clip * mask)[:, 1], mask=mask[:, 1])["score"]
    assert scores.shape == (4, 2)
    torch.testing.assert_close(scores[:, 1:], one, atol=1e-5, rtol=1e-4)
