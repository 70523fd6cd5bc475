"""Anonymize many files on several devices, each file on one: `lightning run predict`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningDataModule, LightningModule
from pytorch_lightning.utilities import rank_zero_info
from torch.utils.data import DataLoader, Dataset

from dp3_lightning.anonymize.batch import Batch, lines_of_left_out
from dp3_lightning.anonymize.files import FilePair, pair_files
from dp3_lightning.anonymize.options import DeviceOptions, Precision
from dp3_lightning.anonymize.rendering.drawing import Drawing
from dp3_lightning.anonymize.settings import Settings
from dp3_lightning.structures import FaceDetector


class FilePairs(Dataset[dict[str, str]]):
    """Serve pairs of input and output paths; the module reads the pixels.

    Args:
        pairs: from :func:`~dp3_lightning.anonymize.files.pair_files`.
        at_least: length to fill up to with empty entries, because Lightning wants one for each
            device.
    """

    def __init__(self, pairs: Sequence[FilePair], at_least: int = 1) -> None:
        self.pairs, self.at_least = list(pairs), at_least

    def __len__(self) -> int:
        return max(len(self.pairs), self.at_least)

    def __getitem__(self, index: int) -> dict[str, str]:
        if index >= len(self.pairs):
            return {"source": "", "output": ""}
        pair = self.pairs[index]
        return {"source": str(pair.source), "output": str(pair.output)}


class MediaFiles(LightningDataModule):
    """Find the videos and pictures to anonymize.

    Args:
        source: files, folders and patterns, as for ``dp3 anonymize``.
        output: folder of the results, in which the tree of an input folder is repeated.
    """

    def __init__(self, source: str | list[str], output: str = "anonymized") -> None:
        super().__init__()
        self.source = [source] if isinstance(source, str) else list(source)
        self.output = output

    def predict_dataloader(self) -> DataLoader[dict[str, str]]:
        """Return one file per batch; the log names the files of folders that are left out."""
        for line in lines_of_left_out(self.source, self.output):
            rank_zero_info(line)
        pairs = pair_files(self.source, self.output)
        n_devices = self.trainer.world_size if self.trainer is not None else 1
        return DataLoader(FilePairs(pairs, n_devices), batch_size=1, collate_fn=_first)


def _first(batch: list[dict[str, str]]) -> dict[str, str]:
    return batch[0]


class Anonymizer(LightningModule):
    """Anonymize one file per step; needs no training.

    A file that fails does not stop the others. At the end the run fails if any file did, or if
    faces may be left in one. Files that were finished before are skipped.

    Args:
        generator: checkpoint file, name of published weights, or ``blur``, ``pixelate``, ``solid``.
        settings: as for ``dp3 anonymize``.
        detector: face detector, or a name for :func:`~dp3_lightning.faces.detector_named`.
        precision: of the generator.
    """

    def __init__(
        self,
        generator: str = "face-prior",
        settings: Settings | None = None,
        detector: FaceDetector | str | None = None,
        precision: Precision = "auto",
    ) -> None:
        super().__init__()
        self.generator, self.settings = generator, settings or Settings()
        self.detector, self.precision = detector, precision
        self._batch: Batch | None = None

    @property
    def failed(self) -> list[str]:
        """Return the files of this rank that were not anonymized safely, with the reasons."""
        return [] if self._batch is None else self._batch.problems

    def on_predict_start(self) -> None:
        """Load the generator onto this rank's device."""
        options = DeviceOptions(str(self.device), self.precision)
        drawing = Drawing.prepare(self.generator, options)
        self._batch = Batch(drawing, self.settings, self.detector)

    def predict_step(self, batch: dict[str, str], batch_idx: int) -> None:
        """Anonymize one file; the batch holds the paths ``source`` and ``output``."""
        del batch_idx
        assert self._batch is not None
        if batch["source"]:
            self._batch.anonymize(FilePair(Path(batch["source"]), Path(batch["output"])))

    def on_predict_end(self) -> None:
        """Fail on all ranks when a file failed on any.

        Raises:
            ValueError: listing the files of this rank.
        """
        count = self._sum(len(self.failed))
        if count:
            own = "\n  ".join(self.failed) or "(on other ranks)"
            raise ValueError(f"{count} files were not anonymized safely:\n  {own}")

    def _sum(self, value: int) -> int:
        local = torch.tensor(float(value), device=self.device)
        total: Any = self.trainer.strategy.reduce(local, reduce_op="sum")
        return int(total)
