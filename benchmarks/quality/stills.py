"""A thousand stills: is anybody recognised, is the tone right, how often is a face only blurred?

Method. Portraits and group photos, pictures of ORL (grey) and of CelebA (178x218, colour), as they
are: faces are found in all of them without padding or enlarging. Every still is anonymized in this
process with the default generator and a seed of its own, with the checks a user has. Where somebody
was refused as too alike, it is drawn once more without refusing: "before rejection".
"Recognised" is a similarity to the original above the judge's threshold (`thresholds.py`). SFace
draws and refuses; dlib and MobileFaceNet decide. Skin: CIELAB difference (1976) of cheeks and brow,
by individual typology angle of the original. Sharpness: variance of the Laplacian in the face.
Rows are appended to --work, which is gone on with; other code or weights start anew. The pictures
that are made stay there: they show scenes with real people around drawn faces.

    python -m benchmarks.quality.stills --work FOLDER --count 1000 --seed 0 --mobilefacenet FILE
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Sequence
from pathlib import Path

from benchmarks.common import RESULTS, add_draft, markdown_table, metadata, write_results
from benchmarks.quality import identities, journal, pictures, still_faces, still_report
from benchmarks.quality.face_prior import Work
from benchmarks.quality.identities import deciding, judges_at_hand
from benchmarks.quality.report import Face
from benchmarks.quality.still_faces import StillStudy
from benchmarks.quality.still_sources import chosen_stills
from dp3_lightning.anonymize import Drawing


def measuring_code() -> str:
    """Return the SHA-256 over the code that measures a still."""
    files = [Path(str(module.__file__)) for module in (identities, pictures, still_faces)]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def seconds_per_still(rows: Sequence[Face]) -> float | None:
    """Mean time of one still."""
    known = [row["seconds"] for row in rows if row.get("seconds") is not None]
    return round(sum(known) / len(known), 2) if known else None


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="folder that is gone on with")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pictures", type=Path, help="folder of further portraits and groups")
    parser.add_argument("--mobilefacenet", type=Path, help="file of its network, a judge")
    parser.add_argument("--output", type=Path, default=RESULTS / "face_prior_stills--cpu.json")
    add_draft(parser)
    options = parser.parse_args()
    before = metadata("cpu", options.draft)
    options.work.mkdir(parents=True, exist_ok=True)
    stills = chosen_stills(options.work, options.count, options.seed, options.pictures)
    drawing, judges = Drawing.prepare("face-prior"), judges_at_hand(options.mobilefacenet)
    deciding(judges)
    made_by = Work(options.work).drawn_by[:8]
    folder = options.work / f"seed{options.seed}-{made_by}"
    study = StillStudy(drawing, judges, folder, options.seed)
    names = "-".join(judge.name for judge in judges)
    file = folder / f"faces-{names}-{measuring_code()[:8]}.jsonl"
    by_name = {still.name: still for still in stills}
    answers = journal.each(file, by_name, lambda name: study.measure(by_name[name]))
    rows = [row for answer in answers.values() for row in answer]
    settings = {
        "generator": drawing.name,
        "weights": drawing.sha256[:8],
        "stills": len(stills),
        "seed": options.seed,
        "seconds per still": seconds_per_still(rows),
        **{f"threshold of {j.name}": f"{j.threshold.value} ({j.threshold.origin})" for j in judges},
    }
    table, aims = still_report.identity_rows(rows, judges), still_report.targets(rows, judges)
    others = {
        "outcomes": still_report.outcome_rows(rows),
        "skin": still_report.tone_rows(rows),
        "sharpness": still_report.sharpness_rows(rows),
    }
    results = {"rows": table, "targets": aims, **others, "faces": still_report.compact(rows)}
    write_results(options.output, {"metadata": before, "settings": settings, "results": results})
    for part in (table, *others.values(), aims):
        print(f"\n{markdown_table(part)}")
    print(f"\n{seconds_per_still(rows)} s per still")


if __name__ == "__main__":
    main()
