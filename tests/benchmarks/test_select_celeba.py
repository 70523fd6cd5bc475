from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.paper.select_celeba import select
from dp3_lightning.structures import Detection, UInt8Array


class BrightSquares:
    """As many faces as the picture's first pixel says, of the size its second says."""

    name = "squares"

    def __call__(self, frames: list[UInt8Array]) -> list[list[Detection]]:
        (frame,) = frames
        n_faces, side = int(frame[0, 0, 0]) // 50, float(frame[0, 8, 0])
        return [[Detection((0.0, 0.0, side, side), 0.9)] * n_faces]


def celeba(folder: Path, people: dict[str, tuple[str, list[tuple[int, int]]]]) -> Path:
    """People with their part and pictures, each of so many faces and such a size."""
    (folder / "img_align_celeba").mkdir(parents=True)
    identity, partition = [], []
    for person, (part, pictures) in people.items():
        for number, (n_faces, side) in enumerate(pictures):
            name = f"{person}{number}.png"
            pixels = np.zeros((32, 32, 3), np.uint8)
            pixels[:8, :8], pixels[:8, 8:16] = 50 * n_faces, side
            cv2.imwrite(str(folder / "img_align_celeba" / name), pixels)
            identity.append(f"{name} {person}")
            partition.append(f"{name} {part[number % len(part)]}")
    (folder / "identity_CelebA.txt").write_text("\n".join(identity) + "\n")
    (folder / "list_eval_partition.txt").write_text("\n".join(partition) + "\n")
    return folder


def test_one_large_face_few_per_person_and_nobody_in_two_parts(tmp_path: Path) -> None:
    good = [(1, 100)] * 4
    people = {
        "1": ("0", good), "2": ("1", good), "3": ("2", [(1, 100), (0, 100), (2, 100), (1, 20)]),
        "4": ("01", good),
    }  # fmt: skip
    folder = celeba(tmp_path, people)
    rows = select(folder, 100, 3, 48, BrightSquares())
    count = {p: sum(row["identity"] == p for row in rows) for p in people}
    assert count == {"1": 3, "2": 3, "3": 1, "4": 0}
    assert {row["identity"]: row["split"] for row in rows} == {
        "1": "train",
        "2": "val",
        "3": "test",
    }
    assert all((folder / row["path"]).is_file() for row in rows)
    assert select(folder, 100, 3, 48, BrightSquares()) == rows
    assert select(folder, 4, 3, 48, BrightSquares()) == rows[:4]


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="identity_CelebA"):
        select(tmp_path, 1, 1, 1, BrightSquares())
