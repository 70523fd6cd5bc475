"""From which similarity on is somebody "recognised"? One in a thousand strangers may be.

Method. All pairs of the 999 colour pictures of CelebA in one package, each face found by the same
detector and aligned by the same landmarks as in every other study here. The threshold is the
similarity above which one pair in a thousand lies (false acceptance rate 1e-3). The package does
not say who is who, and some pairs show one person: those that all judges find alike beyond doubt
are left out, and the threshold with them in is told too. Its interval comes from drawing people
again (bootstrap), because pairs of one picture belong together.

    python -m benchmarks.quality.thresholds --work FOLDER --mobilefacenet FILE
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.common import Row, add_draft, metadata, publish
from benchmarks.quality import journal
from benchmarks.quality.identities import (
    FALSE_ACCEPTANCE,
    MEASURED,
    Judge,
    documented,
    judges_at_hand,
)
from benchmarks.quality.still_sources import Still, unpacked
from dp3_lightning.anonymize import Settings
from dp3_lightning.anonymize.picture_job import plan_of_picture, read_picture
from dp3_lightning.checks import check_between
from dp3_lightning.faces import CenterFace
from dp3_lightning.structures import FloatArray

BoolArray = npt.NDArray[np.bool_]

_ROUNDS = 200
# A pair is one person when every judge is this far above its threshold: about as many pairs as
# there must be, 1.1e-4 of all by the number of pictures of each of CelebA's 10,177 people.
_BEYOND_DOUBT = {"SFace": 0.45, "dlib": 0.45, "MobileFaceNet": 0.55}


def threshold_at(similarities: FloatArray, rate: float) -> float:
    """Return the least similarity above which no more than a share ``rate`` of strangers lies.

    Args:
        similarities: of pairs of two people, ``(n,)``.
        rate: in (0, 1).

    Raises:
        ValueError: too few pairs for the rate, or ``rate`` out of range.
    """
    check_between(0, 1, rate=rate)
    allowed = int(np.floor(rate * len(similarities) + 1e-9))
    if allowed < 1:
        raise ValueError(
            f"Expected at least {int(np.ceil(1 / max(rate, 1e-12)))} pairs for a false acceptance "
            f"rate of {rate}, got {len(similarities)}."
        )
    return float(np.partition(similarities, -allowed - 1)[-allowed - 1])


def embedded(stills: Sequence[Still], judges: Sequence[Judge], file: Path) -> dict[str, FloatArray]:
    """Embed the largest face of every still; goes on where it was stopped.

    Args:
        stills: pictures of one person each.
        judges: recognisers.
        file: JSON lines, one per still.

    Returns:
        Judge to ``(n, D)``, of the stills that every judge found a face in.
    """
    detector = CenterFace(0.5, runtime="auto")
    by_name = {still.name: still for still in stills}
    known = journal.each(
        file, by_name, lambda name: _vectors(by_name[name], judges, detector)
    ).values()
    whole = [found for found in known if all(found[judge.name] for judge in judges)]
    return {judge.name: np.array([found[judge.name] for found in whole]) for judge in judges}


def _vectors(
    still: Still, judges: Sequence[Judge], detector: CenterFace
) -> dict[str, list[float] | None]:
    picture = read_picture(still.path)
    tracks = plan_of_picture(still.path, Settings(), detector).tracks
    boxes = sorted((t.boxes[0] for t in tracks), key=lambda b: (b[2] - b[0]) * (b[3] - b[1]))
    found: dict[str, list[float] | None] = {}
    for judge in judges:
        vector = judge.embedder(picture, boxes[-1]) if boxes else None
        usable = vector is not None and np.isfinite(vector).all()
        found[judge.name] = vector.round(5).tolist() if vector is not None and usable else None
    return found


def one_person(matrices: Mapping[str, FloatArray]) -> BoolArray:
    """Return ``(n, n)`` True for pairs that every judge finds alike beyond doubt."""
    sure = [matrix > _BEYOND_DOUBT[name] for name, matrix in matrices.items()]
    found: BoolArray = np.logical_and.reduce(sure)
    return found


def measured_thresholds(
    vectors: Mapping[str, FloatArray], judges: Sequence[Judge], rate: float = FALSE_ACCEPTANCE
) -> list[Row]:
    """Return the threshold of every judge, with its interval and what it is compared with.

    Args:
        vectors: judge to ``(n, D)``; rows are one picture for all judges.
        judges: recognisers.
        rate: of false acceptance.
    """
    matrices = {j.name: j.similarities(vectors[j.name], vectors[j.name]) for j in judges}
    same = one_person(matrices)
    above = np.triu(np.ones(same.shape, bool), 1)
    random = np.random.default_rng(0)
    rows: list[Row] = []
    for judge in judges:
        matrix = matrices[judge.name]
        strangers = matrix[above & ~same]
        drawn = []
        for _ in range(_ROUNDS):
            people = random.integers(0, len(matrix), len(matrix))
            pairs = above & ~same[np.ix_(people, people)] & (people[:, None] != people)
            drawn.append(threshold_at(matrix[np.ix_(people, people)][pairs], rate))
        known = documented(judge.name)
        rows.append(
            {
                "judge": judge.name,
                "threshold": threshold_at(strangers, rate),
                "from": float(np.percentile(drawn, 2.5)),
                "to": float(np.percentile(drawn, 97.5)),
                "with all pairs": threshold_at(matrix[above], rate),
                "documented": known,
                "strangers above the documented": float((strangers > known).mean()),
                "pictures": len(matrix),
                "pairs": len(strangers),
                "pairs of one person, left out": int((same & above).sum()),
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="folder that is gone on with")
    parser.add_argument("--count", type=int, default=999, help="pictures, for a trial")
    parser.add_argument("--mobilefacenet", type=Path, help="file of its network")
    parser.add_argument("--output", type=Path, default=MEASURED)
    add_draft(parser)
    options = parser.parse_args()
    before = metadata("cpu", options.draft)
    options.work.mkdir(parents=True, exist_ok=True)
    stills = unpacked("celeba_999", options.work)[: options.count]
    judges = judges_at_hand(options.mobilefacenet)
    names = "-".join(judge.name for judge in judges)
    vectors = embedded(stills, judges, options.work / f"embeddings-{names}.jsonl")
    rows = measured_thresholds(vectors, judges)
    settings = {"pictures": len(stills), "false acceptance rate": FALSE_ACCEPTANCE}
    notes = [{"method": "colour pairs of CelebA, CenterFace boxes, each judge's own landmarks"}]
    publish(options.output, before, settings, rows, notes)


if __name__ == "__main__":
    main()
