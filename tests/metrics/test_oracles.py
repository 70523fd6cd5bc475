"""Our metrics beside those of torchmetrics, torchvision, kornia and SciPy."""

from __future__ import annotations

import kornia
import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor, nn
from torchmetrics.functional import pairwise_cosine_similarity
from torchmetrics.functional.classification import binary_auroc
from torchmetrics.functional.image import total_variation as torchmetrics_total_variation
from torchmetrics.functional.retrieval import retrieval_hit_rate
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import poly_mmd
from torchvision.ops import box_iou

from dp3_lightning.faces.appearance import lab_of
from dp3_lightning.metrics import (
    correlation,
    detection_auc,
    frechet_distance,
    identification,
    identity_flicker,
    identity_stability,
    kernel_distance,
    sharpness,
    total_variation,
)
from dp3_lightning.metrics.detection import overlap

RNG = np.random.default_rng(0)


class Rows(nn.Module):
    """Takes pictures of one pixel a feature for features."""

    num_features = 6

    def forward(self, pictures: Tensor) -> Tensor:
        return pictures.flatten(1)[:, : self.num_features].double()


def test_frechet_distance() -> None:
    first, second = RNG.normal(size=(40, 6)), RNG.normal(size=(50, 6)) * 1.5 + 1
    theirs = FrechetInceptionDistance(Rows(), normalize=True, input_img_size=(3, 1, 2))
    theirs.set_dtype(torch.float64)
    for rows, real in ((first, True), (second, False)):
        theirs.update(torch.from_numpy(rows).view(-1, 3, 1, 2), real=real)
    assert frechet_distance(first, second) == pytest.approx(float(theirs.compute()), rel=1e-6)


def test_kernel_distance() -> None:
    first, second = RNG.normal(size=(30, 6)), RNG.normal(size=(30, 6)) + 0.5
    theirs = poly_mmd(torch.from_numpy(first), torch.from_numpy(second))
    assert kernel_distance(first, second) == pytest.approx(float(theirs))


def test_total_variation_and_sharpness() -> None:
    clip = torch.rand(2, 3, 12, 10, dtype=torch.float64) * 2 - 1
    whole = torch.ones(2, 1, 12, 10)
    theirs = torchmetrics_total_variation(clip / 2, reduction="sum") / clip.numel()
    assert total_variation(clip, whole) == pytest.approx(float(theirs), rel=1e-6)
    inside = torch.zeros_like(whole)
    inside[:, :, 1:-1, 1:-1] = 1
    # Kornia's step is over two pixels, ours over one: of a slope theirs is four times ours.
    slope = torch.arange(10.0).expand(2, 3, 12, 10) * 0.1
    ours = sharpness(slope, inside)
    two = kornia.filters.spatial_gradient(slope / 2, "diff", normalized=False)[..., 1:-1, 1:-1]
    assert two.square().sum(2).mean().item() == pytest.approx(4 * ours, rel=1e-4)


def test_correlation() -> None:
    first = RNG.normal(size=30)
    second = first + RNG.normal(size=30)
    assert correlation(first, second) == pytest.approx(scipy.stats.pearsonr(first, second)[0])


def test_detection_auc() -> None:
    real, made = RNG.normal(0, 1, 60), RNG.normal(1, 1, 40)
    scores = torch.from_numpy(np.concatenate([real, made]))
    labels = torch.cat([torch.zeros(60), torch.ones(40)]).long()
    assert detection_auc(real, made) == pytest.approx(float(binary_auroc(scores, labels)))


def test_stability_and_flicker() -> None:
    track = RNG.normal(size=(7, 5))
    cosines = pairwise_cosine_similarity(torch.from_numpy(track)).numpy()  # its diagonal is 0
    local, whole = identity_stability(track)
    assert local == pytest.approx(np.diag(cosines, 1).mean())
    assert whole == pytest.approx(cosines.sum() / 42)
    assert identity_flicker(track[:-1], track[1:]) == pytest.approx(1 - local)


@pytest.mark.parametrize("k", [1, 3])
def test_rank_k(k: int) -> None:
    """With one picture per person: the hit rate of retrieval."""
    gallery = RNG.normal(size=(12, 4))
    queries = gallery + RNG.normal(size=(12, 4))
    people = list(range(12))
    rates = identification(queries, people, gallery, people, ks=(k,)).rates
    near = -torch.cdist(torch.from_numpy(queries), torch.from_numpy(gallery))
    hits = [retrieval_hit_rate(near[i], torch.arange(12) == i, top_k=k) for i in range(12)]
    assert rates[k] == pytest.approx(float(torch.stack(hits).float().mean()))


def test_overlap() -> None:
    boxes = RNG.uniform(0, 10, size=(8, 2, 2))
    corners = np.sort(boxes, axis=1).reshape(8, 4)
    theirs = box_iou(torch.from_numpy(corners), torch.from_numpy(corners)).numpy()
    ours = [[overlap(a, b) for b in corners.tolist()] for a in corners.tolist()]
    assert np.array(ours) == pytest.approx(theirs)


def test_colours_are_cielab() -> None:
    picture = RNG.integers(0, 256, (6, 7, 3), dtype=np.uint8)
    theirs = kornia.color.rgb_to_lab(
        torch.from_numpy(picture).permute(2, 0, 1)[None].double() / 255
    )
    assert lab_of(picture) == pytest.approx(theirs[0].permute(1, 2, 0).numpy(), abs=0.3)
