"""Figures of whole sets of pictures or people as torchmetrics, synced over processes."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from dp3_lightning.metrics.features import PictureFeatures
from dp3_lightning.metrics.identity import identity_stability
from dp3_lightning.metrics.privacy import identification, tar_at_far
from dp3_lightning.metrics.quality import frechet_distance, kernel_distance
from dp3_lightning.structures import FloatArray


class FeatureDistance(Metric):
    """Frechet and kernel distance of features of two sets of pictures: FID and KID with Inception.

    Args:
        features: of pictures, see :func:`inception_features` and :func:`mobilenet_features`.
    """

    made: list[Tensor]
    real: list[Tensor]
    higher_is_better = False
    full_state_update = False

    def __init__(self, features: PictureFeatures) -> None:
        super().__init__()
        self.features = features
        for name in ("made", "real"):
            self.add_state(name, [], dist_reduce_fx="cat")

    def update(self, pictures: Tensor, real: bool) -> None:
        """Take in ``(N, 3, H, W)`` in [-1, 1], of originals or not."""
        rows = torch.from_numpy(self.features.of([pictures])).to(self.device)
        (self.real if real else self.made).append(rows)

    def compute(self) -> dict[str, Tensor]:
        """Return both distances under the names that the features give them."""
        rows = [_rows(part) for part in (self.made, self.real)]
        return {
            self.features.frechet: torch.tensor(frechet_distance(*rows)),
            self.features.kernel: torch.tensor(kernel_distance(*rows)),
        }


class VerificationRate(Metric):
    """:func:`tar_at_far` over many pairs: ``tar``, ``far``, and the interval's ends.

    Args:
        far: wanted false accept rate; where too few people were seen the finest possible one.
    """

    distances: list[Tensor]
    first: list[Tensor]
    second: list[Tensor]
    higher_is_better = False
    full_state_update = False

    def __init__(self, far: float = 1e-3) -> None:
        super().__init__()
        self.far = far
        for name in ("distances", "first", "second"):
            self.add_state(name, [], dist_reduce_fx="cat")

    def update(self, distances: Tensor, first: Tensor, second: Tensor) -> None:
        """Take in pairs of faces.

        Args:
            distances: ``(N,)`` between anonymized and original, or two originals.
            first: ``(N,)`` long, who the first face of a pair is (its source, if anonymized).
            second: ``(N,)`` long, who the second is. Equal numbers are genuine pairs.
        """
        for part, value in ((self.distances, distances), (self.first, first)):
            part.append(value.detach().flatten())
        self.second.append(second.detach().flatten())

    def compute(self) -> dict[str, Tensor]:
        """Return the rates.

        Raises:
            ValueError: no genuine pair, or too few of different people.
        """
        gaps = _rows(self.distances)
        people = np.sort(np.stack([_rows(self.first), _rows(self.second)]), axis=0)
        genuine = people[0] == people[1]
        pairs = len(np.unique(people[:, ~genuine], axis=1).T)
        known = len(np.unique(people[0, genuine]))
        found = tar_at_far(
            gaps[genuine], gaps[~genuine], self.far, people_pairs=pairs, people=known
        )
        values = {"tar": found.tar, "far": found.far}
        values |= {"tar_low": found.interval[0], "tar_high": found.interval[1]}
        return {name: torch.tensor(value) for name, value in values.items()}


class ReIdentification(Metric):
    """:func:`identification` over many faces: ``rank1``, ``rank5``, and chance for each.

    Args:
        ks: ranks.
    """

    queries: list[Tensor]
    query_people: list[Tensor]
    gallery: list[Tensor]
    gallery_people: list[Tensor]
    higher_is_better = False
    full_state_update = False

    def __init__(self, ks: tuple[int, ...] = (1, 5)) -> None:
        super().__init__()
        self.ks = ks
        for name in ("queries", "query_people", "gallery", "gallery_people"):
            self.add_state(name, [], dist_reduce_fx="cat")

    def update(self, made: Tensor, real: Tensor, people: Tensor) -> None:
        """Take in faces: those of `made` are searched for among all of `real`.

        Args:
            made: ``(N, D)`` embeddings of anonymized faces, or their means over tracks.
            real: ``(N, D)`` of their originals, or of other pictures of the same people.
            people: ``(N,)`` long, who they are.
        """
        self.queries.append(made.detach())
        self.gallery.append(real.detach())
        for part in (self.query_people, self.gallery_people):
            part.append(people.detach().flatten())

    def compute(self) -> dict[str, Tensor]:
        """Return the share found at each rank, and what guessing gives.

        Raises:
            ValueError: fewer than two people.
        """
        labels = _rows(self.query_people).astype(int).tolist()
        known = _rows(self.gallery_people).astype(int).tolist()
        found = identification(_rows(self.queries), labels, _rows(self.gallery), known, self.ks)
        values = {f"rank{k}": found.rates[k] for k in self.ks}
        values |= {f"rank{k}_chance": found.chance[k] for k in self.ks}
        return {name: torch.tensor(value) for name, value in values.items()}


class IdentityStability(Metric):
    """:func:`identity_stability` over many tracks: ``TL-ID`` and ``TG-ID``; tracks count alike."""

    sums: Tensor
    tracks: Tensor
    higher_is_better = True
    full_state_update = False

    def __init__(self) -> None:
        super().__init__()
        self.add_state("sums", torch.zeros(2, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("tracks", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, made: Tensor, real: Tensor | None = None) -> None:
        """Take in one track: ``(T, D)`` embeddings of the output, and of the original."""
        rows = [None if part is None else part.double().cpu().numpy() for part in (made, real)]
        assert rows[0] is not None
        self.sums += torch.tensor(
            identity_stability(rows[0], rows[1]), dtype=torch.float64, device=self.sums.device
        )
        self.tracks += 1

    def compute(self) -> dict[str, Tensor]:
        """Return the means; NaN without any track."""
        local, whole = self.sums / self.tracks
        return {"TL-ID": local, "TG-ID": whole}


def _rows(parts: list[Tensor]) -> FloatArray:
    if isinstance(parts, list) and not parts:
        return np.zeros(0)
    rows: FloatArray = dim_zero_cat(parts).double().cpu().numpy()
    return rows
