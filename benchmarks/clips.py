"""The two videos of data_throughput.py: a real sample and a synthetic one in HD."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dp3_lightning.assets import asset_path
from dp3_lightning.data import synthetic_clip
from dp3_lightning.faces.detector import CenterFace
from dp3_lightning.structures import Detection, FaceDetector, UInt8Array
from dp3_lightning.video import write_video

FACE_SIDE, SCENE = 360, 48  # pixels; frames between two keyframes
HD = (720, 1280)


class ConstantDetector:
    """Answers with one box for every frame.

    Args:
        box: ``(x0, y0, x1, y1)`` in pixels.
    """

    def __init__(self, box: tuple[float, float, float, float]) -> None:
        self.box = box
        self.name = f"constant-{box}"

    def __call__(self, frames: list[UInt8Array]) -> list[list[Detection]]:
        """Return the box as often as there are frames."""
        return [[Detection(self.box, 0.9)] for _ in frames]


def synthetic_frames(n_frames: int) -> Iterator[UInt8Array]:
    """A small talking head over a panning texture, which changes every SCENE frames."""
    corner = ((HD[0] - FACE_SIDE) // 2, (HD[1] - FACE_SIDE) // 2)
    place = tuple(slice(c, c + FACE_SIDE) for c in corner)
    for scene, first in enumerate(range(0, n_frames, SCENE)):
        rng = np.random.default_rng(scene)
        coarse = rng.integers(0, 256, (HD[0] // 8, HD[1] // 8, 3), dtype=np.uint8)
        texture = coarse.repeat(8, axis=0).repeat(8, axis=1)
        count = min(SCENE, n_frames - first)
        faces = synthetic_clip(n_frames=count, size=(FACE_SIDE, FACE_SIDE), seed=scene).frames
        for number, face in enumerate(faces):
            frame = np.roll(texture, (number, 2 * number), axis=(0, 1))
            frame[place] = face
            yield frame


@dataclass(frozen=True)
class Case:
    """One video with what is asked of it."""

    name: str
    path: Path
    detector: FaceDetector
    n_frames: int
    cache: Path


def make_cases(folder: Path, quick: bool) -> list[Case]:
    """A real clip of 640x360 and a synthetic one of 1280x720."""
    name, n_frames = ("smile", 48) if quick else ("actress", 4 * SCENE)
    real = asset_path(name)
    written = write_video(folder / "synthetic.mp4", synthetic_frames(n_frames), 25)
    middle = np.array([HD[1] / 2, HD[0] / 2] * 2)
    half = 0.3 * FACE_SIDE
    box = middle + np.array([-half, -half, half, half])
    constant = ConstantDetector((float(box[0]), float(box[1]), float(box[2]), float(box[3])))
    return [
        Case(f"{name}, 640x360", real, CenterFace(), n_frames, folder),
        Case("synthetic, 1280x720", written, constant, n_frames, folder),
    ]
