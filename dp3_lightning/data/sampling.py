"""Order samples by counters only, and resume loading in the middle of an epoch.

The n-th batch of a run is the same whether the run was interrupted before it or not, and whether
one process takes it or several share it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from dp3_lightning.randomness import keyed_generator

SampleKey = tuple[int, int]


class ClipSampler(DistributedSampler[Any]):
    """Yield ``(sample, epoch)`` keys; rank r takes every world-size-th one of an epoch's order.

    It subclasses :class:`DistributedSampler` so that Lightning leaves it in place. Incomplete
    global batches are dropped, so that all ranks see equally many.

    Args:
        dataset: sized data set.
        batch_size: samples per batch of one process.
        seed: of the order.
        num_replicas: number of processes.
        rank: this process.
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        batch_size: int,
        seed: int = 0,
        num_replicas: int = 1,
        rank: int = 0,
    ) -> None:
        super().__init__(dataset, num_replicas=num_replicas, rank=rank, shuffle=True, seed=seed)
        self.batch_size = batch_size
        self.n_samples = len(dataset)  # type: ignore[arg-type]
        self.n_batches = self.n_samples // (batch_size * num_replicas)
        if self.n_batches == 0:
            raise ValueError(
                f"Expected at least batch_size x processes = {batch_size} x {num_replicas} "
                f"training clips, got {self.n_samples}: lower `batch_size`, `stride` or "
                "`clip_length`, or add video."
            )
        self.batches_seen = 0

    def __len__(self) -> int:
        return self.n_batches * self.batch_size

    def __iter__(self) -> Iterator[SampleKey]:
        """Continue after ``batches_seen``, to the end of that epoch."""
        epoch, done = divmod(self.batches_seen, self.n_batches)
        order = torch.randperm(
            self.n_samples, generator=keyed_generator(self.seed, "order", epoch)
        ).tolist()
        mine = order[self.rank :: self.num_replicas][: len(self)]
        for sample in mine[done * self.batch_size :]:
            yield sample, epoch


class EvaluationSampler(DistributedSampler[Any]):
    """Yield every sample once, in order; rank r takes every world-size-th.

    Nothing is repeated to make ranks equally long, which would count some samples twice: metrics
    must be weighted by samples. It subclasses :class:`DistributedSampler` because Lightning would
    shard any other sampler a second time.

    Args:
        dataset: sized data set.
        num_replicas: number of processes.
        rank: this process.
    """

    def __init__(self, dataset: Dataset[Any], num_replicas: int = 1, rank: int = 0) -> None:
        super().__init__(dataset, num_replicas=num_replicas, rank=rank, shuffle=False)
        self.mine = range(rank, len(dataset), num_replicas)  # type: ignore[arg-type]

    def __len__(self) -> int:
        return len(self.mine)

    def __iter__(self) -> Iterator[int]:
        return iter(self.mine)


class ResumableDataLoader(DataLoader[Any]):
    """Count the batches handed out, and continue after them when the count is restored.

    Lightning saves and restores the state of loaders that have ``state_dict``. The count, not
    Lightning's epoch, says what comes next; the workers' prefetching does not disturb it.
    """

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        for batch in super().__iter__():
            if isinstance(self.sampler, ClipSampler):
                self.sampler.batches_seen += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Return the number of samples handed out, over all processes."""
        if not isinstance(self.sampler, ClipSampler):
            return {"samples_seen": 0}
        sampler = self.sampler
        return {"samples_seen": sampler.batches_seen * sampler.batch_size * sampler.num_replicas}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue after ``samples_seen``; batch size and number of processes may have changed."""
        if isinstance(self.sampler, ClipSampler):
            per_batch = self.sampler.batch_size * self.sampler.num_replicas
            self.sampler.batches_seen = state["samples_seen"] // per_batch
