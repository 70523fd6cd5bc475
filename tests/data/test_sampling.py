"""The order of samples: by counters only, shared out among ranks, resumable anywhere."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch.utils.data import Dataset, DistributedSampler

from dp3_lightning.data.sampling import ClipSampler, EvaluationSampler, ResumableDataLoader

Key = tuple[int, int]


class Keys(Dataset[Key]):
    """Answers with the key it was asked for."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, key: Key) -> Key:
        return key


def loader(
    n: int = 10, batch: int = 2, seed: int = 0, world: int = 1, rank: int = 0, **options: Any
) -> ResumableDataLoader:
    keys = Keys(n)
    sampler = ClipSampler(keys, batch, seed, world, rank)
    return ResumableDataLoader(
        dataset=keys, batch_size=batch, sampler=sampler, drop_last=True, **options
    )


def take(source: ResumableDataLoader, count: int) -> list[list[Key]]:
    """The next so many batches, over the ends of epochs; stops in the middle of one."""
    taken: list[list[Key]] = []
    while len(taken) < count:
        for samples, epochs in itertools.islice(source, count - len(taken)):
            taken.append(list(zip(samples.tolist(), epochs.tolist(), strict=True)))
    return taken


def flat(batches: list[list[Key]]) -> list[Key]:
    return list(itertools.chain(*batches))


def test_every_epoch_has_every_sample_once_in_another_order() -> None:
    batches = take(loader(), 15)
    epochs = [flat(batches[i : i + 5]) for i in (0, 5, 10)]
    for number, keys in enumerate(epochs):
        assert sorted(keys) == [(i, number) for i in range(10)]
    orders = [[sample for sample, _ in keys] for keys in epochs]
    assert orders[0] != orders[1] != orders[2] != list(range(10))


def test_same_seed_same_order_other_seed_other_order() -> None:
    torch.manual_seed(1)
    first = take(loader(), 10)
    torch.manual_seed(2)
    assert take(loader(), 10) == first
    assert take(loader(seed=1), 10) != first


@pytest.mark.parametrize("n", [12, 15])
def test_ranks_are_disjoint_and_add_up_to_the_doubled_batch(n: int) -> None:
    ranks = [take(loader(n, world=2, rank=r), 9) for r in (0, 1)]
    single = take(loader(n, batch=4), 9)
    for zero, one, both in zip(*ranks, single, strict=True):
        assert not set(zero) & set(one)
        assert sorted(zero + one) == sorted(both)


def test_incomplete_global_batches_are_dropped() -> None:
    for rank in (0, 1, 2):
        part = loader(n=13, batch=2, world=3, rank=rank)
        assert len(part) == 2
        assert len(list(part)) == 2


def test_fewer_samples_than_one_batch() -> None:
    with pytest.raises(ValueError, match=r"2 x 3 training clips, got 5: lower `batch_size`"):
        loader(n=5, batch=2, world=3)
    assert len(loader(n=6, batch=2, world=3)) == 1


@pytest.mark.parametrize("done", range(12))
def test_resumes_anywhere(done: int) -> None:
    whole = take(loader(), 16)
    before = loader()
    assert take(before, done) == whole[:done]
    after = loader()
    after.load_state_dict(before.state_dict())
    assert take(after, 16 - done) == whole[done:]
    assert take(before, 16 - done) == whole[done:]  # and so does the one that was left midway


@pytest.mark.parametrize("done", [3, 5, 6])  # 5 is the exact end of an epoch
def test_prefetching_workers_do_not_disturb_the_count(done: int) -> None:
    options = {"num_workers": 2, "persistent_workers": True, "prefetch_factor": 2}
    whole = take(loader(), 11)
    before = loader(**options)
    running = iter(before)
    early = [next(running) for _ in range(min(done, 5))]  # the workers are ahead by four
    assert [b[0].tolist() for b in early] == [[s for s, _ in b] for b in whole[: len(early)]]
    if done >= 5:
        assert next(running, None) is None
    if done > 5:
        take(before, 1)
    state = before.state_dict()
    after = loader(**options)
    after.load_state_dict(state)
    assert take(after, 11 - done) == whole[done:]
    # The old workers still hold batches of the abandoned epoch: none of them may come out.
    assert take(before, 11 - done) == whole[done:]


def test_batch_size_and_ranks_may_change_between_runs() -> None:
    parts = [loader(16, batch=2, world=2, rank=r) for r in (0, 1)]
    taken = [take(part, 1) for part in parts]
    states = [part.state_dict() for part in parts]
    assert states[0] == states[1]
    alone = loader(16, batch=4)
    alone.load_state_dict(states[0])
    rest = take(alone, 3)
    assert sorted(flat(taken[0] + taken[1] + rest)) == [(i, 0) for i in range(16)]


def test_shards_cover_everything_once_and_repeat_nothing() -> None:
    shards = [list(EvaluationSampler(Keys(11), 3, rank)) for rank in range(3)]
    assert sorted(itertools.chain(*shards)) == list(range(11))
    assert shards[1] == [1, 4, 7, 10]
    sampler = EvaluationSampler(Keys(11), 3, 2)
    assert len(sampler) == 3
    assert isinstance(sampler, DistributedSampler)  # or Lightning would shard once more
