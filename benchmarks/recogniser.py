"""How often does the recogniser take two people for one, or one for two?

Method. All faces of the sample clips (16 frames of each, spread) and pictures, labelled by hand:
who is in which, from left to right. Distances of all pairs of pictures of one person, and of all
pairs of two people. A verdict of "the drawn face passes for the real one" is a distance below the
threshold, so its false alarms are the pairs of two people below it. Frames of one clip are alike,
so the number of pairs of distinct people says more about the certainty than the number of pairs.

    python -m benchmarks.recogniser
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

import numpy as np

from benchmarks.common import RESULTS, Row, add_draft, metadata, publish
from dp3_lightning.anonymize.picture_job import read_picture
from dp3_lightning.assets import ASSETS, asset_path
from dp3_lightning.faces import CenterFace, DlibEmbedder
from dp3_lightning.structures import FloatArray, UInt8Array
from dp3_lightning.video import VideoReader

# Who is seen, from left to right.
PEOPLE = {
    "speech": ("biden", "obama"),
    "portrait_obama": ("obama",),
    "portrait_obama2": ("obama",),
    "portrait_biden": ("biden",),
    "smile": ("man who smiles",),
    "actress": ("actress",),
    "carphone": ("man in a car",),
    "group_photo": ("group 1", "group 2", "group 3", "group 4", "group 5"),
}
THRESHOLDS = (0.45, 0.5, 0.55, 0.6, 0.65)


def pictures(name: str) -> list[UInt8Array]:
    """Frames of a clip, or one picture."""
    path = asset_path(name)
    if ASSETS[name].kind == "picture":
        return [read_picture(path)]
    reader = VideoReader(path)
    return [reader.frame(int(i)) for i in np.linspace(0, len(reader) - 1, 16)]


def embeddings() -> dict[str, list[FloatArray]]:
    """Embeddings by person."""
    detector, embedder = CenterFace(threshold=0.6), DlibEmbedder()
    found: dict[str, list[FloatArray]] = {}
    for name, people in PEOPLE.items():
        for picture in pictures(name):
            (faces,) = detector([picture])
            if len(faces) != len(people):
                continue  # somebody is turned away; labels by place would be wrong
            for person, face in zip(people, sorted(faces, key=lambda f: f.box[0]), strict=True):
                vector = embedder(picture, face.box)
                if vector is not None:
                    found.setdefault(person, []).append(vector)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, default=RESULTS / "recogniser--cpu.json")
    add_draft(parser)
    arguments = parser.parse_args()
    before = metadata("cpu", arguments.draft)
    found = embeddings()
    same = np.array(
        [
            np.linalg.norm(a - b)
            for vectors in found.values()
            for a, b in itertools.combinations(vectors, 2)
        ]
    )
    other = {
        (p, q): np.array([np.linalg.norm(a - b) for a in found[p] for b in found[q]])
        for p, q in itertools.combinations(found, 2)
    }
    every = np.concatenate(list(other.values()))
    rows: list[Row] = [
        {
            "threshold": threshold,
            "one person, below": float((same < threshold).mean()),
            "two people, below": float((every < threshold).mean()),
            "pairs of people with any below": sum(
                bool((v < threshold).any()) for v in other.values()
            ),
        }
        for threshold in THRESHOLDS
    ]
    nearest = min(other, key=lambda pair: float(other[pair].min()))
    notes: list[Row] = [
        {
            "people": len(found),
            "pairs of people": len(other),
            "picture pairs of one person": len(same),
            "picture pairs of two": len(every),
            "nearest two people": " and ".join(nearest),
            "their least distance": float(other[nearest].min()),
            "largest distance of one person": float(same.max()),
        }
    ]
    settings = {"recogniser": "dlib", "pictures": sum(map(len, found.values()))}
    publish(arguments.output, before, settings, rows, notes)


if __name__ == "__main__":
    main()
