"""Anonymize many files: skip those that are done, go on after errors, sum up, give an exit code.

The command ``dp3 anonymize`` and the LightningModule of several devices share these rules.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from dp3_lightning.anonymize.api import anonymize_video
from dp3_lightning.anonymize.files import FilePair, left_out
from dp3_lightning.anonymize.manifest import Outcome, is_done
from dp3_lightning.anonymize.planning.plan import Plan
from dp3_lightning.anonymize.rendering.drawing import Drawing
from dp3_lightning.anonymize.settings import Settings
from dp3_lightning.anonymize.video_job import Progress
from dp3_lightning.faces import detector_named
from dp3_lightning.faces.choice import DEFAULT_DETECTOR
from dp3_lightning.structures import FaceDetector

HOW_TO_GO_ON = (
    "the same command goes on where it was; what is finished lies beside the output, anonymized"
)
FAILED = 1  # exit code


@dataclass(frozen=True)
class FileResult:
    """Say how it went with one file.

    Attributes:
        pair: the file and the place of its output.
        outcome: what happened; None for a file that failed or was done before.
        error: why it failed; None otherwise.
    """

    pair: FilePair
    outcome: Outcome | None = None
    error: Exception | None = None

    @property
    def was_done(self) -> bool:
        """Return whether the file was skipped, because a whole and safe output was there."""
        return self.outcome is None and self.error is None

    @property
    def exit_code(self) -> int:
        """Return 1 for a file that failed, else the code of its outcome; 0 where it was done."""
        if self.error is not None:
            return FAILED
        return 0 if self.outcome is None else self.outcome.exit_code

    @property
    def problem(self) -> str:
        """Return the file and why it is not anonymized safely; empty where nothing is wrong."""
        if self.error is not None:
            return f"{self.pair.source}: {self.error}"
        if self.exit_code:
            return f"{self.pair.source}: faces may be left, see the manifest of the output"
        return ""


class Batch:
    """Anonymize files one after another by one set of choices.

    A file that fails does not stop the others, unless the environment variable ``DP3_TRACEBACK`` is
    set. A file is skipped when its output is whole, safe, and made from it with the same choices;
    never with ``overwrite``, nor with a plan, which may have been edited since.

    Args:
        drawing: how faces are drawn.
        settings: all further choices.
        detector: face detector, or a name for :func:`~dp3_lightning.faces.detector_named`.
        plan: of the only file; default: make one for each.
        cache: folder of the detector's answers; default: the user's cache.
        watch: context around the work on one file; what it yields is told about every pass.
        finish: called after each file with its place and outcome; what it raises counts as a
            failure of the file.

    Raises:
        ValueError: no such detector.
    """

    def __init__(
        self,
        drawing: Drawing,
        settings: Settings,
        detector: FaceDetector | str | None = None,
        plan: Plan | None = None,
        cache: Path | None = None,
        watch: Callable[[], AbstractContextManager[Progress | None]] = nullcontext,
        finish: Callable[[FilePair, Outcome], None] | None = None,
    ) -> None:
        self.drawing, self.settings, self.plan, self.cache = drawing, settings, plan, cache
        chosen = detector or DEFAULT_DETECTOR
        self.detector = detector_named(chosen) if isinstance(chosen, str) else chosen
        self.watch, self.finish = watch, finish
        self.results: list[FileResult] = []

    def anonymize(self, pair: FilePair) -> FileResult:
        """Anonymize one file, unless it is done; its errors are in the result."""
        try:
            result = FileResult(pair) if self._is_done(pair) else FileResult(pair, self._one(pair))
        except Exception as error:  # whatever it is, the other files can be done
            if os.environ.get("DP3_TRACEBACK"):
                raise
            result = FileResult(pair, error=error)
        self.results.append(result)
        return result

    def _is_done(self, pair: FilePair) -> bool:
        if self.plan is not None or self.settings.output.overwrite:
            return False
        choices = self.settings.recorded()
        return is_done(pair.source, pair.output, self.drawing.describe(), choices)

    def _one(self, pair: FilePair) -> Outcome:
        pair.output.parent.mkdir(parents=True, exist_ok=True)
        with self.watch() as progress:
            outcome = anonymize_video(
                pair.source,
                pair.output,
                self.drawing,
                settings=self.settings,
                detector=self.detector,
                plan=self.plan,
                cache=self.cache,
                progress=progress,
            )
        if self.finish is not None:
            self.finish(pair, outcome)
        return outcome

    @property
    def problems(self) -> list[str]:
        """Return one line for every file that failed or in which faces may be left."""
        return [result.problem for result in self.results if result.problem]

    @property
    def exit_code(self) -> int:
        """Return 1 when a file failed, else 3 when faces may be left in one, else 0."""
        codes = {result.exit_code for result in self.results}
        return FAILED if FAILED in codes else max(codes, default=0)

    def summary(self) -> list[str]:
        """Return the lines that name all files with a problem; none when there are none."""
        total = len(self.results)
        failed = [r.problem for r in self.results if r.error is not None]
        left = [r.problem for r in self.results if r.error is None and r.problem]
        lines = []
        for number, what, names in (
            (len(failed), "failed", failed),
            (len(left), "may have faces left", left),
        ):
            if number:
                lines += [f"{number} of {total} files {what}:", *(f"  {name}" for name in names)]
        return lines


def lines_of_left_out(inputs: Sequence[str | Path], output: str | Path) -> list[str]:
    """Return one line for every file of input folders that is not anonymized, with the reason.

    Args:
        inputs: as in :func:`~dp3_lightning.anonymize.files.pair_files`.
        output: as in there.
    """
    return [f"left out: {path} ({reason})" for path, reason in left_out(inputs, output)]
