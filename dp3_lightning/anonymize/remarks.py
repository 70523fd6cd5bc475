"""Write the lines that the console shows about a finished file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dp3_lightning.anonymize.manifest import Outcome
from dp3_lightning.anonymize.planning.damage import remarks_on_the_file
from dp3_lightning.anonymize.settings import Settings


def remarks(record: dict[str, Any], outcome: Outcome, settings: Settings) -> Iterator[str]:
    """Yield what a person should know about a finished file, one line each.

    Args:
        record: its manifest.
        outcome: what happened.
        settings: what was asked for.
    """
    yield from _mishaps(record, outcome)
    yield from remarks_on_the_file(record)
    yield from _weak(record)
    for track in record["tracks"]:
        if track["action"] == "keep":
            yield f"{track['person']} keeps the real face: {track['reason']}"
        elif "passed for the real person" in track["reason"]:
            yield f"{track['person']} is blurred: {track['reason']}"
    yield from _not_compared(record)
    if "skipped" in record["identity"]:
        yield f"identity check skipped: {record['identity']['skipped']}"
    if settings.output.audio == "drop":
        yield "sound dropped, because a voice identifies a person (--audio copy keeps it)"
    for frame, box in outcome.unresolved:
        yield f"UNRESOLVED: a face at {[round(v) for v in box]} in frame {frame}"
    if outcome.unchecked:
        yield f"UNRESOLVED: frames that could not be checked: {outcome.unchecked[:20]}"


def _mishaps(record: dict[str, Any], outcome: Outcome) -> Iterator[str]:
    blurred = [f for f in outcome.failures if f.blurred]
    if blurred:
        yield (
            f"blurred after a failure: {len({f.frame for f in blurred})} frames "
            f"(first: frame {blurred[0].frame}, {blurred[0].reason})"
        )
    for failure in (f for f in outcome.failures if not f.blurred):
        yield f"from frame {failure.frame} on: {failure.reason}"
    failed = record["frames"]["detector_failed_blurred"]
    if failed:
        yield f"the face detector failed in {len(failed)} frames, which are blurred as a whole"
    if outcome.missing_tail:
        yield f"the file is cut off: {outcome.missing_tail} of its announced frames are missing"
    if outcome.blurred:
        yield f"{len(outcome.blurred)} uncovered faces were detected afterwards and blurred"


def _weak(record: dict[str, Any]) -> Iterator[str]:
    faces = record["faces"]
    if faces["weak_blurred"]:
        yield f"weak but lasting detections are blurred: {', '.join(faces['weak_blurred'])}"
    ignored = faces["weak_ignored"]
    if ignored:
        count = sum(len(found) for found in ignored.values())
        yield (
            f"{count} weak detections in {len(ignored)} frames were left as they are (first: frame "
            f"{min(map(int, ignored))}); the manifest lists them"
        )


def _not_compared(record: dict[str, Any]) -> Iterator[str]:
    """Yield who could not be compared with the real person at all."""
    if "skipped" in record["identity"]:
        return
    tracks = [t for t in record["tracks"] if t["action"] != "keep"]
    unknown = [t["person"] for t in tracks if t["distance_to_original"] is None]
    if unknown:
        people = ", ".join(sorted(set(unknown)))
        yield f"not comparable with the real person in any look: {people}"


def verdict_line(record: dict[str, Any], outcome: Outcome) -> str:
    """Return the last line about a file, which the exit code agrees with.

    Args:
        record: its manifest.
        outcome: what happened.
    """
    if outcome.verdict == "faces left":
        return f"FACES LEFT: {len(outcome.unresolved)} that were found could not be hidden"
    if outcome.unchecked:
        return f"NOT CHECKED: {len(outcome.unchecked)} of {outcome.n_frames} frames"
    if outcome.verdict == "not checked":
        return "NOT CHECKED for remaining faces (--no-verify)"
    smallest = (record["detectors"]["plan"] or {}).get("smallest_face")
    limit = "" if smallest is None else f" (of faces under {smallest:g} px, some are not found)"
    return f"checked: no face is known to be left{limit}"
