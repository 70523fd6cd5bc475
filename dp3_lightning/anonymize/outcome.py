"""Record what happened in a run, and judge by it whether the output is safe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from dp3_lightning.anonymize.planning.plan import Plan
from dp3_lightning.anonymize.rendering.result import Failure
from dp3_lightning.anonymize.verify import Checked
from dp3_lightning.structures import UInt8Array

UNRESOLVED = 3  # exit code
Verdict = Literal["checked", "not checked", "faces left"]


@dataclass
class Outcome:
    """Count and list what happened in some frames of a video.

    Attributes:
        n_frames: frames of the video.
        missing_tail: frames that a cut-off file announced and does not hold.
        n_drawn: faces that went through the generator.
        n_carried: faces carried from those.
        failures: failed frames, in which the face is blurred.
        repeated: frames that cannot be decoded; the one before stands in their place.
        n_checked: frames in which faces were detected after rendering.
        blurred: faces detected then that were not covered; they were blurred.
        unresolved: those still found afterwards.
        unchecked: frames in which that detection failed.
        distances: track to distances between the face in the result and the real one.
        not_comparable: track to looks at which there was nothing to compare.
        is_verified: whether faces were looked for after rendering at all.
        redraws: person to the number of drawn people that were refused as too alike.
        notes: what the file could not keep, in plain words.
        people: person to the face that was drawn, at rest, for the report; not written down.
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
    not_comparable: dict[int, int] = field(default_factory=dict)
    is_verified: bool = True
    notes: list[str] = field(default_factory=list)
    people: dict[str, UInt8Array] = field(default_factory=dict, repr=False, compare=False)

    @property
    def verdict(self) -> Verdict:
        """Return ``checked``, ``not checked`` (in some frames or all) or ``faces left``."""
        if self.unresolved:
            return "faces left"
        return "checked" if self.is_verified and not self.unchecked else "not checked"

    @property
    def safe(self) -> bool:
        """Return whether all frames were checked and no face is known to be left."""
        return self.verdict == "checked"

    @property
    def exit_code(self) -> int:
        """Return 0, also for a run whose check was switched off, or 3 when faces may be left."""
        return UNRESOLVED if self.unresolved or self.unchecked else 0

    def add_checked(self, checked: Checked) -> None:
        """Add the results of detecting faces again."""
        self.n_checked += checked.n_checked
        self.blurred += checked.blurred
        self.unresolved += checked.unresolved
        self.unchecked += checked.unchecked

    def add_distances(self, distances: Mapping[int, list[float]]) -> None:
        """Add distances between drawn and real faces, by track."""
        for number, values in distances.items():
            self.distances.setdefault(number, []).extend(values)

    def add_not_comparable(self, looks: Mapping[int, int]) -> None:
        """Add looks at which there was nothing to compare."""
        for number, count in looks.items():
            self.not_comparable[number] = self.not_comparable.get(number, 0) + count

    def add(self, other: Outcome) -> None:
        """Add the outcome of other frames."""
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
        self.add_not_comparable(other.not_comparable)

    def alike(self, plan: Plan, threshold: float) -> dict[int, float]:
        """Return tracks whose result passes for the real person, with the least distance.

        One look in which it does is enough. Black faces show nobody.
        """
        return {
            number: min(values)
            for number, values in self.distances.items()
            if plan.tracks[number].action in ("generate", "blur") and min(values) < threshold
        }

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, without pictures."""
        values = asdict(replace(self, people={}))
        del values["people"]
        return values

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Outcome:
        """Rebuild an outcome from :meth:`as_dict`; other keys are ignored."""
        known = {k: data[k] for k in cls.__dataclass_fields__ if k in data}
        known["failures"] = [Failure(**f) for f in known.get("failures", [])]
        for name in ("distances", "not_comparable"):
            known[name] = {int(k): v for k, v in known.get(name, {}).items()}
        for name in ("blurred", "unresolved"):
            known[name] = [(int(f), list(box)) for f, box in known.get(name, [])]
        return cls(**known)
