"""One Trainer whose loss terms and loader change every few batches, with a clock on every batch.

All alternatives train the same two networks in one process. Those that are not on turn cost
nothing: their workers stand still once they have filled their queue.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from torch.utils.data import DataLoader

from benchmarks.common import synchronize
from benchmarks.memory import PeakMemory

PREFETCHED = 2  # batches that one idle worker holds ready (DataLoader's default)


@dataclass(frozen=True)
class Alternative:
    """What is trained with.

    Attributes:
        terms: additive loss callbacks.
        flow: whether the loader's workers measure flow.
    """

    terms: Sequence[Callback]
    flow: bool = False


@dataclass(frozen=True)
class Step:
    """One measured training step, from the end of the batch before to its own end.

    Attributes:
        name: the alternative.
        turn: number of the round.
        place: position in the segment, 0 for the first.
        seconds: all of it.
        wait: part of it before the step began: loader and transfer.
        lazy: whether the discriminator's R1 penalty was due.
        memory: peak above the level before the step in MiB, when it was asked for.
    """

    name: str
    turn: int
    place: int
    seconds: float
    wait: float
    lazy: bool
    memory: float | None


class Segments:
    """Sized iterable of batches, in segments of alternating order.

    Args:
        alternatives: by name.
        loaders: without flow and with flow.
        turns: rounds; every alternative has one segment in each.
        length: batches per segment.
    """

    def __init__(
        self,
        alternatives: Mapping[str, Alternative],
        loaders: Mapping[bool, DataLoader[Any]],
        turns: int,
        length: int,
    ) -> None:
        self.alternatives, self.loaders = alternatives, loaders
        self.turns, self.length = turns, length
        self.name, self.turn, self.place = "", 0, 0
        self._batches = {flow: _endless(loader) for flow, loader in loaders.items()}
        for batches in self._batches.values():
            next(batches)  # starts the workers

    def __len__(self) -> int:
        return self.turns * self.length * len(self.alternatives)

    def __iter__(self) -> Iterator[Any]:
        """Yield batches; the attributes tell whose turn it is."""
        names = list(self.alternatives)
        for turn in range(self.turns):
            for name in names if turn % 2 == 0 else names[::-1]:
                batches = self._batches[self.alternatives[name].flow]
                for _ in range(PREFETCHED):
                    next(batches)  # made during the turns of others, hence free: they do not count
                for place in range(self.length):
                    self.name, self.turn, self.place = name, turn, place
                    yield next(batches)


def _endless(loader: DataLoader[Any]) -> Iterator[Any]:
    for _ in count():
        yield from loader


class Clock(Callback):
    """Attaches the terms whose turn it is and records every step.

    Args:
        segments: the training data.
        device: waited for before every reading.
        memory: measure peak memory as well.
    """

    def __init__(self, segments: Segments, device: str, memory: bool) -> None:
        super().__init__()
        self.segments, self.device = segments, device
        self.memory = PeakMemory(device) if memory else None
        self.steps: list[Step] = []
        self._end = self._start = 0.0
        self._lazy = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._end = time.perf_counter()

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Attach the terms; the clock has been running since the end of the last batch."""
        synchronize(self.device)
        self._start = time.perf_counter()
        terms = self.segments.alternatives[self.segments.name].terms
        trainer.callbacks = [*terms, self]  # type: ignore[attr-defined]
        self._lazy = trainer.global_step % pl_module.hparams["r1_interval"] == 0
        if self.memory:
            self.memory.start()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop the clock and start it again."""
        synchronize(self.device)
        end = time.perf_counter()
        at, peak = self.segments, self.memory.peak() if self.memory else None
        seconds, wait = end - self._end, self._start - self._end
        self.steps.append(Step(at.name, at.turn, at.place, seconds, wait, self._lazy, peak))
        self._end = time.perf_counter()
