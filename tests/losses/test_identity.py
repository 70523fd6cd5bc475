import pytest
import torch
from torch import nn

from dp3_lightning.losses import identity_hinge


@pytest.mark.parametrize("margin", [-0.3, 0.0, 0.4])
def test_equals_torchs_cosine_embedding_loss_of_two_people(margin: float) -> None:
    rng = torch.Generator().manual_seed(0)
    fake, real = (torch.randn(50, 16, generator=rng, dtype=torch.float64) for _ in range(2))
    fake.requires_grad_()
    theirs = nn.CosineEmbeddingLoss(margin=margin, reduction="none")
    expected = theirs(fake, real, -torch.ones(50))
    ours = identity_hinge(fake, real, margin)
    torch.testing.assert_close(ours, expected)
    gradients = [torch.autograd.grad(v.sum(), fake, retain_graph=True)[0] for v in (ours, expected)]
    torch.testing.assert_close(*gradients)


def test_identity_hinge_by_hand() -> None:
    fake = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]], requires_grad=True)
    real = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 1.0]])
    loss = identity_hinge(fake, real, margin=0.2)
    torch.testing.assert_close(loss.detach(), torch.tensor([0.8, 0.0, 0.5**0.5 - 0.2]))
    loss.sum().backward()
    assert fake.grad[1].abs().sum() == 0  # already another person: no further push


@pytest.mark.parametrize("bad", [float("nan"), 0.0])
def test_faces_that_cannot_be_embedded_do_not_count(bad: float) -> None:
    fake = torch.tensor([[1.0, 0.1], [bad, bad]], requires_grad=True)
    loss = identity_hinge(fake, torch.ones(2, 2))
    loss.sum().backward()
    assert loss[1] == 0
    assert torch.isfinite(fake.grad).all()


def test_identity_hinge_moves_the_generated_face_only() -> None:
    fake = torch.tensor([[1.0, 0.5]], requires_grad=True)
    real = torch.tensor([[1.0, 0.0]], requires_grad=True)
    identity_hinge(fake, real).sum().backward()
    assert fake.grad.abs().sum() > 0
    assert real.grad is None
