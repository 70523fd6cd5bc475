"""What happened in a run, and the file beside the output that says so. No originals in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dp3_lightning.anonymize.plan import Plan, PlannedTrack
from dp3_lightning.anonymize.rendered import Failure
from dp3_lightning.anonymize.verify import Checked
from dp3_lightning.faces.analysis import file_hash
from dp3_lightning.whole_files import write_json

MANIFEST_VERSION = 1
UNRESOLVED = 3  # exit code


@dataclass
class Outcome:
    """What happened in some frames of a video.

    Attributes:
        n_frames: frames of the video.
        missing_tail: frames that a cut-off file announced and does not hold.
        n_drawn: faces that went through the generator.
        n_carried: faces carried from those.
        failures: what was blurred because something failed.
        repeated: frames that cannot be decoded; the one before stands in their place.
        n_checked: frames in which faces were detected after rendering.
        blurred: faces found then that nobody had planned; they were blurred.
        unresolved: those still found afterwards.
        unchecked: frames in which that detection failed.
        distances: track to distances between drawn and real face.
        redraws: person to the number of drawn people that were refused as too alike.
        notes: what the file could not keep, in plain words.
    """

    n_frames: int = 0
    missing_tail: int = 0
    n_drawn: int = 0
    n_carried: int = 0
    failures: list[Failure] = field(default_factory=list)
    repeated: list[int] = field(default_factory=list)
    n_checked: int = 0
    blurred: list[tuple[int, list[float]]] = field(default_factory=list)
    unresolved: list[tuple[int, list[float]]] = field(default_factory=list)
    unchecked: list[int] = field(default_factory=list)
    distances: dict[int, list[float]] = field(default_factory=dict)
    redraws: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def safe(self) -> bool:
        """Whether no face is known to be left."""
        return not self.unresolved and not self.unchecked

    @property
    def exit_code(self) -> int:
        """0, or 3 when faces may be left."""
        return 0 if self.safe else UNRESOLVED

    def add_checked(self, checked: Checked) -> None:
        """Take in what re-detection found."""
        self.n_checked += checked.n_checked
        self.blurred += checked.blurred
        self.unresolved += checked.unresolved
        self.unchecked += checked.unchecked

    def add_distances(self, distances: Mapping[int, list[float]]) -> None:
        """Take in distances of tracks."""
        for number, values in distances.items():
            self.distances.setdefault(number, []).extend(values)

    def add(self, other: Outcome) -> None:
        """Take in what happened in other frames."""
        self.n_drawn += other.n_drawn
        self.n_carried += other.n_carried
        self.failures += other.failures
        self.repeated += other.repeated
        self.n_checked += other.n_checked
        self.blurred += other.blurred
        self.unresolved += other.unresolved
        self.unchecked += other.unchecked
        self.redraws |= other.redraws
        self.add_distances(other.distances)

    def alike(self, plan: Plan, threshold: float) -> dict[int, float]:
        """Tracks whose drawn face passes for the real person, with the least distance."""
        return {
            number: min(values)
            for number, values in self.distances.items()
            if plan.tracks[number].action == "generate" and min(values) < threshold
        }

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Outcome:
        """The reverse of :meth:`as_dict`; other keys are left out."""
        known = {k: data[k] for k in cls.__dataclass_fields__ if k in data}
        known["failures"] = [Failure(**f) for f in known.get("failures", [])]
        known["distances"] = {int(k): v for k, v in known.get("distances", {}).items()}
        for name in ("blurred", "unresolved"):
            known[name] = [(int(f), list(box)) for f, box in known.get(name, [])]
        return cls(**known)


def manifest_path(output: Path) -> Path:
    """``OUT.dp3.json`` beside the output."""
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
) -> dict[str, Any]:
    """Return the record of a finished run: settings, hashes, tracks, checks; no pixels."""
    from dp3_lightning import __version__

    tracks = [
        _track_record(track, outcome.distances.get(number, []), drawing)
        for number, track in enumerate(plan.tracks)
    ]
    people = settings["people"]
    origin = "seed" if people["seed"] is not None else "random"
    return {
        "version": MANIFEST_VERSION,
        "tool": f"dp3_lightning {__version__}",
        "source": {"name": source.name, "sha256": source_sha256},
        "output": {"name": output.name, "sha256": output_sha256},
        "generator": dict(drawing),
        "pseudonyms": {
            "from": origin,
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
        },
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
        "safe": outcome.safe,
    }


def _track_record(
    track: PlannedTrack, distances: list[float], drawing: Mapping[str, Any]
) -> dict[str, Any]:
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
    }


def _ranges(track: PlannedTrack) -> list[list[Any]]:
    """``[first, last, origin]`` of consecutive frames of one origin."""
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
    return data if isinstance(data, dict) and data.get("version") == MANIFEST_VERSION else None


def is_done(
    source: Path, output: Path, drawing: Mapping[str, Any], settings: Mapping[str, Any]
) -> bool:
    """Whether an output is whole and safe, and was made from this source with these choices.

    Args:
        source: the original.
        output: what may be its anonymized copy.
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
        return bool(same and whole and choices and record["safe"])
    except (KeyError, TypeError):
        return False


def _comparable(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as JSON gives them back, without what leaves the result as it is."""
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
