"""Do drawn faces pass for real? Make a sheet for somebody who knows nothing, and count verdicts.

Method. From the stills that `stills.py` anonymized, as many drawn faces as asked for are cut out,
and the real ones from the same places of the same pictures: one size, one JPEG quality, one square
around the box, all numbered in an order that a seed decides. The folder holds real faces: it is
never committed, and neither is the key beside it. Somebody who knows neither looks at one picture
after the other and writes lines of "number,verdict" (`real` or `drawn`) after that heading.
Told apart: the share of verdicts that are right; guessing gives one half.

    python -m benchmarks.quality.passes_for_real make --stills WORK --faces JSONL --sheet FOLDER
    python -m benchmarks.quality.passes_for_real score --key FOLDER.key.json --verdicts CSV
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import cv2

from benchmarks.common import RESULTS, Row, add_draft, markdown_table, metadata, write_results
from benchmarks.quality import journal
from benchmarks.quality.intervals import share_text
from benchmarks.quality.report import Face
from benchmarks.quality.still_faces import DRAWN, output_of
from benchmarks.quality.still_sources import Still, chosen_stills, shuffled
from dp3_lightning.anonymize import Settings
from dp3_lightning.anonymize.picture_job import plan_of_picture, read_picture
from dp3_lightning.checks import check_at_least
from dp3_lightning.faces import CenterFace
from dp3_lightning.runtime.files import write_json
from dp3_lightning.structures import UInt8Array

SIDE, QUALITY = 192, 90  # pixels, of JPEG
MOST_TOLD_APART = 0.6
_AROUND = 1.6  # sides of the box that a crop shows
_EVERYTHING = 10**6
VERDICTS = ("real", "drawn")
Verdict = Literal["real", "drawn"]


def square_around(box: Sequence[float], size: tuple[int, int]) -> list[float]:
    """Return a square window around a box, moved into the picture, smaller where it must be.

    Args:
        box: ``(x0, y0, x1, y1)`` in pixels.
        size: ``(height, width)`` of the picture.
    """
    side = min(_AROUND * max(box[2] - box[0], box[3] - box[1]), *size)
    left = min(max((box[0] + box[2] - side) / 2, 0), size[1] - side)
    top = min(max((box[1] + box[3] - side) / 2, 0), size[0] - side)
    return [left, top, left + side, top + side]


def crop(picture: UInt8Array, box: Sequence[float]) -> bytes:
    """Cut a face out of a picture, as JPEG."""
    left, top, right, bottom = (round(v) for v in square_around(box, picture.shape[:2]))
    part = picture[top:bottom, left:right]
    kind = cv2.INTER_AREA if part.shape[0] > SIDE else cv2.INTER_CUBIC
    part = cv2.resize(part, (SIDE, SIDE), interpolation=kind)
    _, data = cv2.imencode(".jpg", part[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return data.tobytes()


def chosen_faces(rows: Sequence[Face], count: int, seed: int, least_side: float) -> list[Face]:
    """Choose drawn faces, in an order of the seed.

    Raises:
        ValueError: there are fewer than asked for.
    """
    names = {
        f"{row['still']} {row['track']}": row
        for row in rows
        if row["outcome"] == DRAWN and row["side"] >= least_side
    }
    if len(names) < count:
        raise ValueError(
            f"Expected {count} drawn faces of at least {least_side:g} px, got {len(names)}: "
            "measure more stills, or lower --count."
        )
    return [names[name] for name in shuffled(list(names), seed)[:count]]


def make(
    faces: Sequence[Face], stills: Mapping[str, Still], made: Path, sheet: Path, seed: int
) -> Path:
    """Write the numbered pictures, and the key beside their folder.

    Args:
        faces: rows of drawn faces.
        stills: by name.
        made: folder of the anonymized copies.
        sheet: folder to write; must not be there, so that no two sheets are mixed.
        seed: decides the order.

    Returns:
        Path of the key.

    Raises:
        FileExistsError: there is such a folder.
    """
    if sheet.exists():
        raise FileExistsError(f"{str(sheet)!r} exists: choose another folder.")
    detector = CenterFace(0.5, runtime="auto")
    pictures: dict[str, tuple[Face, Verdict, bytes]] = {}
    for face in faces:
        still = stills[face["still"]]
        plan = plan_of_picture(still.path, Settings(), detector)
        box = plan.tracks[face["track"]].boxes[0]
        sides: tuple[tuple[Verdict, Path], ...] = (
            ("real", still.path),
            ("drawn", output_of(made, still.name)),
        )
        for truth, path in sides:
            name = f"{still.name} {face['track']} {truth}"
            pictures[name] = (face, truth, crop(read_picture(path), box))
    sheet.mkdir(parents=True)
    key: dict[str, Row] = {}
    for number, name in enumerate(shuffled(list(pictures), seed), start=1):
        face, truth, data = pictures[name]
        (sheet / f"{number:03d}.jpg").write_bytes(data)
        key[f"{number:03d}"] = {"still": face["still"], "track": face["track"], "truth": truth}
    path = sheet.with_name(f"{sheet.name}.key.json")
    write_json(path, {"seed": seed, "side": SIDE, "quality": QUALITY, "pictures": key})
    return path


def read_verdicts(path: Path, key: Mapping[str, Any]) -> dict[str, str]:
    """Read verdicts, by number as in the key.

    Raises:
        ValueError: no such heading; a number that is none, comes twice or is missing; or another
            word.
    """
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows or not {"number", "verdict"} <= set(rows[0]):
        raise ValueError(f"Expected {str(path)!r} to have the heading `number,verdict` and lines.")
    found: dict[str, str] = {}
    for row in rows:
        text, verdict = str(row["number"]).strip(), str(row["verdict"]).strip().lower()
        number = text.removesuffix(".jpg").zfill(3)
        if number not in key:
            raise ValueError(f"Expected `number` of a picture of the sheet, got {text!r}.")
        if number in found:
            raise ValueError(f"Picture {number} has two verdicts.")
        if verdict not in VERDICTS:
            raise ValueError(
                f"Expected `verdict` of picture {number} in {VERDICTS}, got {verdict!r}."
            )
        found[number] = verdict
    missing = sorted(set(key) - set(found))
    if missing:
        raise ValueError(f"No verdict on {len(missing)} pictures, the first is {missing[0]}.")
    return found


def score(key: Mapping[str, Any], verdicts: Mapping[str, str]) -> tuple[list[Row], list[Row]]:
    """Count verdicts.

    Returns:
        Rows of shares with Wilson's interval, and the target.
    """
    sides = [(key[number]["truth"], verdict) for number, verdict in verdicts.items()]
    right = sum(truth == verdict for truth, verdict in sides)
    rows: list[Row] = [{"": "told apart", "share": share_text(right, len(sides))}]
    for truth in VERDICTS:
        own = [verdict for side, verdict in sides if side == truth]
        rows.append(
            {"": f"{truth} called drawn", "share": share_text(own.count("drawn"), len(own))}
        )
    target = {
        "target": "told apart: at most 60 %",
        "measured": rows[0]["share"],
        "met": right <= MOST_TOLD_APART * len(sides),
    }
    return rows, [target]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    maker = commands.add_parser("make", help="write the pictures and the key")
    maker.add_argument("--stills", type=Path, required=True, help="--work of `stills`")
    maker.add_argument("--faces", type=Path, required=True, help="faces-....jsonl in it")
    maker.add_argument("--pictures", type=Path, help="as given to `stills`")
    maker.add_argument("--sheet", type=Path, required=True, help="folder to write")
    maker.add_argument("--count", type=int, default=200, help="drawn faces, and as many real ones")
    maker.add_argument("--least-side", type=float, default=60.0, help="of a face, in pixels")
    maker.add_argument("--seed", type=int, required=True, help="not to be told to the judge")
    counter = commands.add_parser("score", help="count verdicts")
    counter.add_argument("--key", type=Path, required=True)
    counter.add_argument("--verdicts", type=Path, required=True, help="CSV: number,verdict")
    counter.add_argument("--judge", required=True, help="who looked, in a few words")
    counter.add_argument("--output", type=Path, default=RESULTS / "face_prior_passes--cpu.json")
    add_draft(counter)
    options = parser.parse_args()
    if options.command == "make":
        check_at_least(1, count=options.count)
        if not options.faces.is_file():
            raise FileNotFoundError(f"No rows at {str(options.faces)!r}: run `stills` first.")
        rows = [row for found in journal.finished(options.faces).values() for row in found]
        faces = chosen_faces(rows, options.count, options.seed, options.least_side)
        stills = chosen_stills(options.stills, _EVERYTHING, 0, options.pictures)
        by_name = {still.name: still for still in stills}
        path = make(faces, by_name, options.faces.parent, options.sheet, options.seed)
        print(f"{2 * len(faces)} pictures in {options.sheet}; not for the judge: {path}")
        return
    content = json.loads(options.key.read_text(encoding="utf-8"))
    key = content.pop("pictures")
    verdicts = read_verdicts(options.verdicts, key)
    rows, targets = score(key, verdicts)
    lines = [
        f"{n},{key[n]['still']},{key[n]['track']},{key[n]['truth']},{verdicts[n]}" for n in key
    ]
    lines.insert(0, "number,still,track,truth,verdict")
    results = {"rows": rows, "targets": targets, "verdicts": lines}
    settings = {**content, "judge": options.judge}
    before = metadata("cpu", options.draft)
    write_results(options.output, {"metadata": before, "settings": settings, "results": results})
    print(f"{markdown_table(rows)}\n\n{markdown_table(targets)}")


if __name__ == "__main__":
    main()
