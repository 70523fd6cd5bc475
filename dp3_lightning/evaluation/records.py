"""Collect figures of one video, or of many, as plain values for strict JSON."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dp3_lightning.anonymize.planning.plan import Plan
from dp3_lightning.evaluation.figures import FaceFigures, evaluate_pair
from dp3_lightning.evaluation.meaning import MEANING
from dp3_lightning.evaluation.people import PersonTrack, people_figures
from dp3_lightning.evaluation.tools import Tools
from dp3_lightning.evaluation.watching import FacesOfFrames
from dp3_lightning.evaluation.whole_frame import whole_frame_excess
from dp3_lightning.faces.analysis import file_hash

_DIFFERENCE = 0.02  # of the larger: what counts as a difference between two outputs


@dataclass(frozen=True)
class Evaluated:
    """Hold the figures of one video.

    Attributes:
        original: the source.
        output: its anonymized copy.
        faces: figures per face.
        group: person or origin; videos of one group show one person.
        baseline: another anonymized copy of the same source, to compare with.
        baseline_faces: its figures, same faces in the same order.
        whole_frame: excess warping error of whole frames, of the output and of the baseline.
    """

    original: Path
    output: Path
    faces: list[FaceFigures]
    group: str
    baseline: Path | None = None
    baseline_faces: list[FaceFigures] = field(default_factory=list)
    whole_frame: tuple[float, float] = (math.nan, math.nan)


def evaluate(
    original: Path,
    output: Path,
    plan: Plan,
    tools: Tools,
    group: str = "",
    baseline: Path | None = None,
) -> Evaluated:
    """Measure one video, and a second copy of it where one is given.

    Raises:
        ValueError: files that do not belong together, see :func:`evaluate_pair`.
    """
    known = FacesOfFrames()
    faces = evaluate_pair(original, output, plan, tools, known)
    others = [] if baseline is None else evaluate_pair(original, baseline, plan, tools, known)
    errors = [
        math.nan if path is None else whole_frame_excess(original, path, set(plan.cuts), tools.flow)
        for path in (output, baseline)
    ]
    return Evaluated(
        original, output, faces, group or output.stem, baseline, others, (errors[0], errors[1])
    )


def record_of(videos: Sequence[Evaluated], tools: Tools) -> dict[str, Any]:
    """Return all figures; None where a figure has no meaning.

    Args:
        videos: one or more.
        tools: the networks that they were measured with.
    """
    from dp3_lightning import __version__

    faces = [face for video in videos for face in video.faces]
    others = [face for video in videos for face in video.baseline_faces]
    names = [name for name in MEANING if any(name in face.values for face in faces)]
    record: dict[str, Any] = {
        "tool": f"dp3_lightning {__version__}",
        "measured_with": tools.describe(),
        "skipped": dict(tools.skipped),
        "meaning": {
            name: {"text": MEANING[name].text, "direction": MEANING[name].direction}
            for name in names
        },
        "videos": [_video_record(video, names) for video in videos],
        "summary": {name: _spread(faces, name) for name in names},
    }
    if others:
        record["baseline_summary"] = {name: _spread(others, name) for name in names}
        record["comparison"] = {name: _comparison(faces, others, name) for name in names}
    if len(faces) > 1:
        titles = (tools.features.frechet, tools.features.kernel) if tools.features else ("", "")
        tracks, unclear = people_of(videos)
        values, missing = people_figures(tracks, titles)
        missing |= unclear
        record["together"] = _plain_tree(values)
        record["skipped"] |= {f"together: {name}": why for name, why in missing.items()}
    return record


def group_of(video: Path, root: Path) -> str:
    """Return the person or origin of a video: the first folder below the root, else the file.

    Args:
        video: one of the videos below the root, or the root itself.
        root: folder or file that was named.
    """
    if root.is_dir():
        below = video.relative_to(root)
        return below.parts[0] if len(below.parts) > 1 else below.stem
    return video.stem


def people_of(videos: Sequence[Evaluated]) -> tuple[list[PersonTrack], dict[str, str]]:
    """Return all people by name: clips of one group with one face each show one person.

    A clip with several people, of a group with several clips, is left out: nothing says who of
    them is who in the other clips, and taken for strangers they would make others look private.

    Args:
        videos: one or more.

    Returns:
        Faces, and the reasons for what is left out by video.
    """
    clips = Counter(video.group for video in videos)
    found, unclear = [], {}
    for video in videos:
        alone = len({face.person for face in video.faces}) == 1
        if not alone and clips[video.group] > 1:
            unclear[f"people of {video.group}/{video.output.name}"] = (
                "several people in one of several clips: put every person's clips into a folder "
                "of their own"
            )
            continue
        for face in video.faces:
            person = video.group if alone else f"{video.group}/{face.person}"
            found.append(PersonTrack(person, str(video.output), face))
    return found, unclear


def _video_record(video: Evaluated, names: Sequence[str]) -> dict[str, Any]:
    record: dict[str, Any] = {
        "output": {"name": video.output.name, "sha256": file_hash(video.output)},
        "original_sha256": file_hash(video.original),
        "group": video.group,
        "whole_frame_excess_warping_error": _plain(video.whole_frame[0]),
        "faces": [_face_record(face, names) for face in video.faces],
    }
    if video.baseline is not None:
        record["baseline"] = {
            "name": video.baseline.name,
            "sha256": file_hash(video.baseline),
            "whole_frame_excess_warping_error": _plain(video.whole_frame[1]),
            "faces": [_face_record(face, names) for face in video.baseline_faces],
        }
    return record


def _face_record(face: FaceFigures, names: Sequence[str]) -> dict[str, Any]:
    values = {name: _plain(face.values.get(name, math.nan)) for name in names}
    return {"person": face.person, "frames": list(face.frames), "values": values}


def _plain(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _plain_tree(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain_tree(part) for key, part in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain_tree(part) for part in value]
    if isinstance(value, (float, np.floating)):
        return _plain(float(value))
    return int(value) if isinstance(value, np.integer) else value


def _spread(faces: Sequence[FaceFigures], name: str) -> dict[str, float | int] | None:
    """Return median and quartiles over faces."""
    values = [face.values.get(name, math.nan) for face in faces]
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return None
    low, middle, high = (float(v) for v in np.percentile(finite, [25, 50, 75]))
    return {"median": middle, "q1": low, "q3": high, "n": len(finite)}


def _comparison(
    faces: Sequence[FaceFigures], others: Sequence[FaceFigures], name: str
) -> dict[str, int]:
    """Count the faces on which output or baseline is better by more than 2 %; others are even."""
    better = MEANING[name].better
    counts = {"output": 0, "baseline": 0, "even": 0}
    for face, other in zip(faces, others, strict=True):
        a, b = (f.values.get(name, math.nan) for f in (face, other))
        if not (math.isfinite(a) and math.isfinite(b)):
            continue
        gap = {"higher": a - b, "lower": b - a, "one": abs(b - 1) - abs(a - 1), "neither": 0.0}[
            better
        ]
        small = abs(gap) <= _DIFFERENCE * max(abs(a), abs(b))
        counts["even" if small else "output" if gap > 0 else "baseline"] += 1
    return counts
