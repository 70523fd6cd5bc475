"""Measure over several people or videos: who is recognised, and whether fakes are detected."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import scipy.spatial.distance

from dp3_lightning.evaluation.figures import FaceFigures
from dp3_lightning.evaluation.groups import GROUPED, grouped
from dp3_lightning.evaluation.identity import TrackEmbeddings
from dp3_lightning.metrics import (
    Identification,
    frechet_distance,
    identification,
    kernel_distance,
    tar_at_far,
    trained_attack,
    two_sample_auc,
)
from dp3_lightning.structures import FloatArray

FAR = 1e-3
Genuine = tuple[FloatArray, set[str]]  # distances of genuine pairs, and whose they are


@dataclass(frozen=True)
class PersonTrack:
    """Hold one face of one video.

    Attributes:
        person: who it is; the same in all videos of a person.
        video: which file it is from.
        figures: the measured figures.
    """

    person: str
    video: str
    figures: FaceFigures


def people_figures(
    tracks: Sequence[PersonTrack], names: tuple[str, str] = ("Frechet", "kernel distance")
) -> tuple[dict[str, Any], dict[str, str]]:
    """Measure all faces together.

    Args:
        tracks: faces of all videos.
        names: of the features' Frechet and kernel distance.

    Returns:
        Figures by name, and of what cannot be measured the reason: too few people for a rate is
        said, not guessed.
    """
    values: dict[str, Any] = {}
    skipped: dict[str, str] = {}

    def add(name: str, measure: Callable[[], Any]) -> None:
        try:
            values[name] = measure()
        except ValueError as error:
            skipped[name] = str(error)

    known = _known(tracks)
    if known:
        _add_recognition(known, add)
    described = [t for t in tracks if t.figures.features is not None]
    if described:
        made, real = (np.concatenate([_features(t)[k] for t in described]) for k in (0, 1))
        add(names[0], lambda: _frechet(made, real))
        add(names[1], lambda: kernel_distance(made, real))
        add("detectability, AUC", lambda: _detectability(described))
    faces = [track.figures.values for track in tracks]
    for name in GROUPED:
        add(name, lambda name=name: grouped(faces, name))  # type: ignore[misc]
    return values, skipped


def _frechet(made: FloatArray, real: FloatArray) -> float:
    if len(made) <= made.shape[1]:
        raise ValueError(
            f"{len(made)} frames are too few for a Frechet distance of {made.shape[1]} features: "
            "its covariances need more frames than features. See the kernel distance."
        )
    return frechet_distance(made, real)


def re_identification(tracks: Sequence[PersonTrack]) -> Identification | None:
    """Search drawn faces, averaged over tracks, among originals; None for fewer than two people.

    Args:
        tracks: faces of all videos.
    """
    known = _known(tracks)
    if len({track.person for track in known}) < 2:
        return None
    return _identification(_averaged(known), "made")


def _known(tracks: Sequence[PersonTrack]) -> list[PersonTrack]:
    return [t for t in tracks if t.figures.embeddings is not None and len(t.figures.embeddings)]


def _add_recognition(
    tracks: Sequence[PersonTrack], add: Callable[[str, Callable[[], Any]], None]
) -> None:
    pairs = {"same frame": _same_frame, "other clip": _other_clip, "face blacked out": _context}
    for end, rows in (("", tracks), (", tracks averaged", _averaged(tracks))):
        for name, genuine in pairs.items():
            add(
                f"verification, {name}{end}",
                lambda rows=rows, genuine=genuine: _verification(rows, genuine(rows)),  # type: ignore[misc]
            )
    for label, rows in (("frames", tracks), ("tracks averaged", _averaged(tracks))):
        for name, kind in (("", "made"), (", face blacked out", "context")):
            add(
                f"identification, {label}{name}",
                lambda rows=rows, kind=kind: asdict(_identification(rows, kind)),  # type: ignore[misc]
            )
    add("trained attacker", lambda: _trained(tracks))
    add("pseudonyms of one person, distance", lambda: _linkage(tracks))


def _averaged(tracks: Sequence[PersonTrack]) -> list[PersonTrack]:
    """Average to one embedding per track, as an attacker with a whole video would."""
    found = []
    for track in tracks:
        rows = _embeddings(track)
        parts = (part.mean(0, keepdims=True) for part in (rows.real, rows.made, rows.context))
        figures = replace(track.figures, embeddings=TrackEmbeddings(*parts))
        found.append(replace(track, figures=figures))
    return found


def _embeddings(track: PersonTrack) -> TrackEmbeddings:
    assert track.figures.embeddings is not None
    return track.figures.embeddings


def _features(track: PersonTrack) -> tuple[FloatArray, FloatArray]:
    assert track.figures.features is not None
    return track.figures.features


def _gaps(first: FloatArray, second: FloatArray) -> FloatArray:
    """Return all distances between rows of one and rows of the other."""
    values: FloatArray = scipy.spatial.distance.cdist(first, second).ravel()
    return values


def _verification(tracks: Sequence[PersonTrack], genuine: Genuine) -> dict[str, Any]:
    """Measure how often pairs are accepted, at a rate of accepting two different people.

    Those are originals of two people, and the drawn face of one (a synthetic person) with the
    original of another. Two drawn faces are left out: a generator with little variety would make
    them alike, lower the threshold and look private by that.
    """
    gaps: list[FloatArray] = []
    real: set[frozenset[str]] = set()
    synthetic: set[tuple[str, str]] = set()
    for a, b in itertools.permutations(tracks, 2):
        if a.person == b.person:
            continue
        gaps.append(_gaps(_embeddings(a).made, _embeddings(b).real))
        synthetic.add((a.person, b.person))
        if a.person < b.person:
            gaps.append(_gaps(_embeddings(a).real, _embeddings(b).real))
            real.add(frozenset((a.person, b.person)))
    if not gaps:
        raise ValueError("Expected faces of at least two people for a rate of false accepts.")
    distances, people = genuine
    if not len(distances):
        raise ValueError("No person is in two clips: name clips person/clip.mp4 to compare them.")
    pairs = len(real) + len(synthetic)
    found = tar_at_far(distances, np.concatenate(gaps), FAR, people_pairs=pairs, people=len(people))
    return {**asdict(found), "n_people_pairs_synthetic": len(synthetic)}


def _same_frame(tracks: Sequence[PersonTrack]) -> Genuine:
    rows = [np.linalg.norm(_embeddings(t).real - _embeddings(t).made, axis=1) for t in tracks]
    return np.concatenate(rows), {t.person for t in tracks}


def _context(tracks: Sequence[PersonTrack]) -> Genuine:
    rows = [np.linalg.norm(_embeddings(t).real - _embeddings(t).context, axis=1) for t in tracks]
    return np.concatenate(rows), {t.person for t in tracks}


def _other_clip(tracks: Sequence[PersonTrack]) -> Genuine:
    pairs = [
        (a, b)
        for a, b in itertools.permutations(tracks, 2)
        if a.person == b.person and a.video != b.video
    ]
    rows = [_gaps(_embeddings(a).made, _embeddings(b).real) for a, b in pairs]
    return np.concatenate([np.zeros(0), *rows]), {a.person for a, _ in pairs}


def _identification(tracks: Sequence[PersonTrack], kind: str) -> Identification:
    """Search queries in a gallery of originals of the same frames, which favours the attacker."""

    def rows(which: str) -> tuple[FloatArray, list[int]]:
        found, labels = [], []
        people = sorted({t.person for t in tracks})
        for track in tracks:
            part = getattr(_embeddings(track), which)
            found.append(part)
            labels += [people.index(track.person)] * len(part)
        return np.concatenate(found), labels

    return identification(*rows(kind), *rows("real"))


def _trained(tracks: Sequence[PersonTrack]) -> dict[str, Any]:
    """Measure an attacker who trained on anonymized faces; on other clips where there are some."""
    tracks = [t for t in tracks if len(_embeddings(t)) > 1]  # one frame cannot be in both parts
    videos: dict[str, list[str]] = {}
    for track in tracks:
        if track.video not in videos.setdefault(track.person, []):
            videos[track.person].append(track.video)
    several = {person: found for person, found in videos.items() if len(found) > 1}
    across = len(several) > 1
    if across:  # whoever has one clip only is left out
        videos = several
        tracks = [t for t in tracks if t.person in several]
    people = sorted(videos)
    if not people:
        raise ValueError("Expected at least two people to tell apart, got 0.")
    parts: dict[bool, tuple[list[FloatArray], list[int]]] = {True: ([], []), False: ([], [])}
    for track in tracks:
        rows, label = _embeddings(track).made, people.index(track.person)
        if across:
            halves = {track.video != videos[track.person][-1]: rows}
        else:  # the first third against the last: neighbouring frames are all but equal
            third = max(len(rows) // 3, 1)
            halves = {True: rows[:third], False: rows[-third:]}
        for training, part in halves.items():
            parts[training][0].append(part)
            parts[training][1].extend([label] * len(part))
    rate, chance = trained_attack(
        np.concatenate(parts[True][0]), parts[True][1],
        np.concatenate(parts[False][0]), parts[False][1],
    )  # fmt: skip
    how = "other clips of the same people" if across else "the last third of the same clips"
    return {"accuracy": rate, "guessing": chance, "tested_on": how, "n_people": len(people)}


def _linkage(tracks: Sequence[PersonTrack]) -> dict[str, float]:
    """Measure how alike one person's fakes in two videos are; without a pseudonym key, little.

    ``auc``: how often the fakes of one person lie closer than those of two; 0.5 cannot be linked,
    1 always. As close counts half.
    """
    same: list[float] = []
    other: list[float] = []
    for a, b in itertools.combinations(tracks, 2):
        if a.video == b.video:
            continue
        gap = float(np.linalg.norm(_embeddings(a).made.mean(0) - _embeddings(b).made.mean(0)))
        (same if a.person == b.person else other).append(gap)
    if not same or not other:
        raise ValueError("No person is in two clips: name clips person/clip.mp4 to compare them.")
    gap = np.array(other)[None] - np.array(same)[:, None]
    return {
        "same": float(np.mean(same)),
        "other": float(np.mean(other)),
        "auc": float((gap > 0).mean() + 0.5 * (gap == 0).mean()),
    }


def _detectability(tracks: Sequence[PersonTrack]) -> dict[str, Any]:
    """Test on the faces of one video, after training on all others that show nobody of it."""
    videos = sorted({t.video for t in tracks})
    rates = []
    for video in videos:
        tested = [t for t in tracks if t.video == video]
        known = {t.person for t in tested}
        seen_with = {t.video for t in tracks if t.person in known}
        trained = [t for t in tracks if t.video not in seen_with]
        if not trained:
            continue
        made, real = (
            [np.concatenate([_features(t)[i] for t in part]) for part in (trained, tested)]
            for i in (0, 1)
        )
        rates.append(two_sample_auc(real[0], made[0], real[1], made[1]))
    if not rates:
        raise ValueError(
            "Expected videos of at least two people: the detector is trained on the others."
        )
    return {"auc": float(np.mean(rates)), "least": min(rates), "most": max(rates)}
