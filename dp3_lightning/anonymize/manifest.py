"""Record what happened in a run, in a file beside the output. It holds no originals."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dp3_lightning.anonymize.outcome import UNRESOLVED, Outcome
from dp3_lightning.anonymize.planning.plan import Plan, PlannedTrack
from dp3_lightning.anonymize.planning.planner import WEAK
from dp3_lightning.anonymize.provenance import tool_commit
from dp3_lightning.faces.analysis import file_hash
from dp3_lightning.runtime.files import write_json

__all__ = ["UNRESOLVED", "Outcome", "is_done", "manifest_of", "read_manifest", "write_manifest"]

MANIFEST_VERSION = 2
_READABLE = (1, 2)  # in version 1, `safe` was true or false


def manifest_path(output: Path) -> Path:
    """Return the path of ``OUT.dp3.json`` beside the output."""
    return output.with_name(f"{output.name}.dp3.json")


def manifest_of(
    plan: Plan,
    outcome: Outcome,
    *,
    source: Path,
    source_sha256: str,
    output: Path,
    output_sha256: str,
    drawing: Mapping[str, Any],
    settings: Mapping[str, Any],
    identity: Mapping[str, Any],
    detectors: Mapping[str, Any],
    pseudonyms: Mapping[str, str],
) -> dict[str, Any]:
    """Return the record of a finished run: settings, hashes, tracks, checks; no pixels."""
    from dp3_lightning import __version__

    tracks = [
        _track_record(track, number, outcome, drawing) for number, track in enumerate(plan.tracks)
    ]
    people = settings["people"]
    return {
        "version": MANIFEST_VERSION,
        "tool": f"dp3_lightning {__version__}",
        "tool_commit": tool_commit(),
        "source": {"name": source.name, "sha256": source_sha256},
        "output": {"name": output.name, "sha256": output_sha256},
        "generator": dict(drawing),
        "pseudonyms": {
            "from": " and ".join(sorted(set(pseudonyms.values()))) or "nobody is drawn",
            "people": dict(pseudonyms),
            "repeatable": people["seed"] is not None,
            "key_given": people["pseudonym_key_given"],
        },
        "settings": dict(settings),
        "frames": {
            "n_frames": plan.n_frames,
            "size": list(plan.size),
            "cuts": plan.cuts,
            "undecodable_repeated": outcome.repeated,
            "missing_at_the_end": outcome.missing_tail,
            "detector_failed_blurred": plan.undetected,
        },
        "faces": {
            "drawn": outcome.n_drawn,
            "carried": outcome.n_carried,
            "people_refused_as_too_alike": outcome.redraws,
            "weak_blurred": [t.person for t in plan.tracks if t.reason.startswith(WEAK)],
            "weak_ignored": {str(frame): faces for frame, faces in plan.ignored.items()},
        },
        "detectors": dict(detectors),
        "tracks": tracks,
        "failures": [asdict(failure) for failure in outcome.failures],
        "verify": {
            "frames_checked": outcome.n_checked,
            "found_and_blurred": [{"frame": f, "box": box} for f, box in outcome.blurred],
            "unresolved": [{"frame": f, "box": box} for f, box in outcome.unresolved],
            "frames_unchecked": outcome.unchecked,
        },
        "identity": dict(identity),
        "notes": outcome.notes,
        "safe": outcome.verdict,
    }


def _track_record(
    track: PlannedTrack, number: int, outcome: Outcome, drawing: Mapping[str, Any]
) -> dict[str, Any]:
    distances = outcome.distances.get(number, [])
    without_network = track.action == "generate" and not drawing["weights_sha256"]
    return {
        "person": track.person,
        "action": drawing["name"] if without_network else track.action,
        "reason": track.reason,
        "ranges": _ranges(track),
        "frames": {origin: track.origins.count(origin) for origin in sorted(set(track.origins))},
        "distance_to_original": (
            {"n": len(distances), "min": min(distances), "max": max(distances)}
            if distances
            else None
        ),
        "looks_not_comparable": outcome.not_comparable.get(number, 0),
    }


def _ranges(track: PlannedTrack) -> list[list[Any]]:
    """Group consecutive frames of one origin as ``[first, last, origin]``."""
    ranges: list[list[Any]] = []
    for index, origin in enumerate(track.origins, start=track.start):
        if ranges and ranges[-1][2] == origin:
            ranges[-1][1] = index
        else:
            ranges.append([index, index, origin])
    return ranges


def write_manifest(output: Path, manifest: Mapping[str, Any]) -> Path:
    """Write the record beside the output."""
    path = manifest_path(output)
    write_json(path, manifest)
    return path


def read_manifest(output: Path) -> dict[str, Any] | None:
    """Return the record beside an output, or None when there is no whole one."""
    try:
        data = json.loads(manifest_path(output).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return data if isinstance(data, dict) and data.get("version") in _READABLE else None


def is_as_safe_as_asked(record: Mapping[str, Any]) -> bool:
    """Whether an output was checked, or was not to be, and no face is known to be left.

    Args:
        record: a manifest of any version.
    """
    safe = record["safe"]
    if isinstance(safe, bool):  # version 1, which also called unchecked outputs safe
        return safe
    unwanted = not record["settings"]["check"]["verify"]
    return bool(safe == "checked" or (safe == "not checked" and unwanted))


def is_done(
    source: Path, output: Path, drawing: Mapping[str, Any], settings: Mapping[str, Any]
) -> bool:
    """Return whether an output is whole and safe, and made from this source with these choices.

    Args:
        source: the original.
        output: the file that may be its anonymized copy.
        drawing: ``Drawing.describe()``.
        settings: ``Settings.recorded()``.
    """
    record = read_manifest(output)
    if record is None or not output.is_file():
        return False
    try:
        same = record["source"]["sha256"] == file_hash(source)
        whole = record["output"]["sha256"] == file_hash(output)
        choices = record["generator"] == dict(drawing) and _comparable(
            record["settings"]
        ) == _comparable(settings)
        return bool(same and whole and choices and is_as_safe_as_asked(record))
    except (KeyError, TypeError):
        return False


def _comparable(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as JSON returns them, without those that do not change the result."""
    plain: dict[str, Any] = json.loads(json.dumps(settings))
    plain.get("output", {}).pop("overwrite", None)
    return plain


def refuse_existing(source: Path, output: Path, overwrite: bool) -> None:
    """Refuse to write over the source, over an output, or into a folder that is not there.

    Raises:
        FileNotFoundError: no such source, or no folder for the output.
        FileExistsError: there is an output already and ``overwrite`` is not set.
        ValueError: the output is the source.
    """
    if not source.exists():
        raise FileNotFoundError(f"No file at {str(source)!r}. Check the path.")
    if output.exists() and output.samefile(source):
        raise ValueError(
            f"The output {str(output)!r} is the input: choose another name; the original is never "
            "written over."
        )
    if not output.parent.is_dir():
        raise FileNotFoundError(f"No folder {str(output.parent)!r} to write into. Create it first.")
    if output.exists() and not overwrite:
        raise FileExistsError(
            f"{str(output)!r} exists: choose another name, or replace it with --overwrite true."
        )
