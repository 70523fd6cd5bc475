"""Anonymize from Python."""

from __future__ import annotations

from pathlib import Path

from dp3_lightning.anonymize.files import FilePair
from dp3_lightning.anonymize.manifest import Outcome
from dp3_lightning.anonymize.options import DeviceOptions
from dp3_lightning.anonymize.picture_job import anonymize_picture
from dp3_lightning.anonymize.planning.plan import Plan, read_plan
from dp3_lightning.anonymize.rendering.drawing import Drawing
from dp3_lightning.anonymize.settings import Settings
from dp3_lightning.anonymize.video_job import Progress, VideoJob
from dp3_lightning.faces import detector_named
from dp3_lightning.faces.choice import DEFAULT_DETECTOR
from dp3_lightning.generators import GeneratorAdapter
from dp3_lightning.structures import FaceDetector


def anonymize_video(
    source: str | Path,
    output: str | Path,
    generator: str | Path | GeneratorAdapter | Drawing = "face-prior",
    *,
    settings: Settings | None = None,
    detector: FaceDetector | str | None = None,
    plan: Plan | str | Path | None = None,
    device: DeviceOptions | None = None,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """Anonymize one video or picture; ``OUT.dp3.json`` beside the output says what was done.

    Args:
        source: the original; it stays as it is.
        output: the result; its folder must exist.
        generator: a name or file of weights, a built adapter, or ``blur``, ``pixelate``, ``solid``.
        settings: all further choices.
        detector: face detector, or a name for :func:`~dp3_lightning.faces.detector_named`.
        plan: a plan, or its file, that was made before and perhaps edited.
        device: where the generator computes.
        cache: folder of the detector's answers; default: the user's cache.
        progress: called as ``progress(pass, done, total)``.

    Returns:
        What happened. ``outcome.verdict`` is ``checked``, ``not checked`` or ``faces left``;
        ``outcome.safe`` is True for the first only.

    Raises:
        FileNotFoundError: no such source, plan or generator, or no folder for the output.
        FileExistsError: there is an output already (``OutputOptions(overwrite=True)``).
        ValueError: something else in the arguments, named with the remedy.
    """
    pair = FilePair(Path(source), Path(output))
    drawing = generator if isinstance(generator, Drawing) else Drawing.prepare(generator, device)
    known = read_plan(plan) if isinstance(plan, (str, Path)) else plan
    chosen = detector or DEFAULT_DETECTOR
    finder = detector_named(chosen) if isinstance(chosen, str) else chosen
    choices = settings or Settings()
    if pair.is_picture:
        return anonymize_picture(pair.source, pair.output, drawing, choices, finder, known)
    job = VideoJob(pair.source, pair.output, drawing, choices, finder, known, cache, progress)
    return job.run()
