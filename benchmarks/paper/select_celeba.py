"""Select the proposal's 5,000 CelebA pictures, by a rule that can be repeated.

The proposal says "a curated subset of 5,000" and not how it was chosen. The rule here: of every
person at most --per-person pictures, in the order of a hash of the file name; pictures in which the
detector finds exactly one face of at least --min-face pixels; people in the order of a hash of
their number until 5,000 pictures are together. The official partition is kept (0 train, 1
validation, 2 test); a person who stands in two parts is left out, so that no part knows people of
another.

CelebA is for non-commercial research and must be fetched by hand: the folder of aligned pictures,
identity_CelebA.txt and list_eval_partition.txt.

    python -m benchmarks.paper.select_celeba CELEBA_FOLDER
    lightning run fit --config benchmarks/paper/gan_5000_epochs.yaml --data.source MANIFEST
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections import defaultdict
from pathlib import Path

import cv2

from dp3_lightning.faces import CenterFace
from dp3_lightning.runtime.files import write_text
from dp3_lightning.structures import FaceDetector

PARTS = {"0": "train", "1": "val", "2": "test"}


def read_table(path: Path) -> dict[str, str]:
    """Read lines of "name value"."""
    if not path.is_file():
        raise FileNotFoundError(f"No {path.name} in {str(path.parent)!r}: it comes with CelebA.")
    lines = path.read_text(encoding="utf-8").split("\n")
    return dict(line.split() for line in lines if len(line.split()) == 2)


def hashed(text: str) -> str:
    """A number that has nothing to do with the order in CelebA."""
    return hashlib.sha256(text.encode()).hexdigest()


def usable(picture: Path, detector: FaceDetector, min_face: float) -> bool:
    """Whether exactly one face is found, and large enough."""
    pixels = cv2.imread(str(picture), cv2.IMREAD_COLOR)
    if pixels is None:
        return False
    (faces,) = detector([cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)])
    if len(faces) != 1:
        return False
    x0, y0, x1, y1 = faces[0].box
    return min(x1 - x0, y1 - y0) >= min_face


def select(
    folder: Path,
    count: int,
    per_person: int,
    min_face: float,
    detector: FaceDetector,
) -> list[dict[str, str]]:
    """Return rows of a manifest; ``path`` is relative to the folder."""
    people, parts = (
        read_table(folder / name) for name in ("identity_CelebA.txt", "list_eval_partition.txt")
    )
    pictures: dict[str, list[str]] = defaultdict(list)
    for name, person in people.items():
        pictures[person].append(name)
    rows: list[dict[str, str]] = []
    for person in sorted(pictures, key=hashed):
        names = sorted(pictures[person], key=hashed)
        if len({parts.get(name) for name in names}) != 1 or parts.get(names[0]) not in PARTS:
            continue
        taken = 0
        for name in names:
            if taken == per_person or len(rows) == count:
                break
            path = folder / "img_align_celeba" / name
            if path.is_file() and usable(path, detector, min_face):
                split = PARTS[parts[name]]
                rows.append(
                    {"path": f"img_align_celeba/{name}", "identity": person, "split": split}
                )
                taken += 1
        if len(rows) == count:
            break
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--per-person", type=int, default=3)
    parser.add_argument("--min-face", type=float, default=48.0)
    options = parser.parse_args()
    detector = CenterFace(threshold=0.5, runtime="auto")
    rows = select(options.folder, options.count, options.per_person, options.min_face, detector)
    target = options.folder / "selected.jsonl"
    write_text(target, "".join(json.dumps(row) + "\n" for row in rows))
    print(f"{len(rows)} pictures of {len({r['identity'] for r in rows})} people: {target}")


if __name__ == "__main__":
    main()
