"""A talking texture with a known face, and copies of it that are worse in a known way."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from torch import Tensor, nn

from dp3_lightning.anonymize.planning.plan import Plan, PlannedTrack
from dp3_lightning.evaluation import Tools, evaluate_pair
from dp3_lightning.optical_flow import FarnebackFlow
from dp3_lightning.structures import Detection, FloatArray, UInt8Array
from dp3_lightning.video import write_video

N = 12


class Known:
    """Finds the face where the plan says, with marks of its own."""

    name = "known"

    def __call__(self, frames: list[UInt8Array]) -> list[list[Detection]]:
        marks = ((70.0, 40.0), (90.0, 40.0), (80.0, 50.0), (72.0, 60.0), (88.0, 60.0))
        dark = [frame.max() < 30 for frame in frames]
        return [[] if d else [Detection((60, 24, 100, 72), 0.9, marks)] for d in dark]


class MeanColor:
    name = "mean"
    threshold = 0.1

    def __call__(self, frame: UInt8Array, box: Sequence[float]) -> FloatArray | None:
        x0, y0, x1, y1 = (round(v) for v in box)
        return np.append(frame[y0:y1, x0:x1].mean((0, 1)) / 255, 1.0)


class Difference(nn.Module):
    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        return (first - second).square().mean((1, 2, 3), keepdim=True)


def tools(**values: object) -> Tools:
    made = {"embedder": MeanColor(), "perceptual": Difference(), **values}
    return Tools(FarnebackFlow(), Known(), made["embedder"], made["perceptual"], "difference", None)  # type: ignore[arg-type]


def frames() -> list[UInt8Array]:
    """A textured face whose mouth opens and closes, in front of a still wall."""
    rng = np.random.default_rng(0)
    wall = cv2.resize(rng.integers(60, 200, (12, 20, 3), dtype=np.uint8), (160, 96))
    made = []
    y, x = np.mgrid[0:48, 0:40].astype(float)
    for i in range(N):
        opening = 2.5 * np.sin(i * 0.9)
        stretch = np.where(y > 30, (y - 30) / 18 * opening, 0)
        skin = 128 + 40 * np.sin(x / 3) + 40 * np.cos((y - stretch) / 2.5)
        frame = wall.copy()
        frame[24:72, 60:100] = skin[..., None].clip(0, 255).astype(np.uint8)
        made.append(frame)
    return made


def plan(**values: object) -> Plan:
    track = PlannedTrack("person-1", 0, [(60.0, 24.0, 100.0, 72.0)] * N, ["detected"] * N)
    made = {"n_frames": N, "tracks": [track], **values}
    return Plan("in.mkv", "", size=(96, 160), **made)  # type: ignore[arg-type]


def clip(path: Path, pictures: Sequence[UInt8Array]) -> Path:
    return write_video(path, pictures, 10, lossless=True)


def figures(folder: Path, pictures: Sequence[UInt8Array], **values: object) -> dict[str, float]:
    original, output = clip(folder / "in.mkv", frames()), clip(folder / "out.mkv", pictures)
    (face,) = evaluate_pair(original, output, plan(), tools(**values))
    assert (face.person, face.frames) == ("person-1", (0, N - 1))
    return face.values


def changed(kind: str) -> list[UInt8Array]:
    made = []
    for i, frame in enumerate(frames()):
        face = frame[24:72, 60:100]
        if kind == "blurred":
            face[:] = cv2.GaussianBlur(face, (0, 0), 4)
        elif kind == "flickering":
            face[:] = np.clip(face.astype(int) + (20 if i % 2 else -20), 0, 255)
        elif kind == "frozen":
            face[:] = frames()[0][24:72, 60:100]
        elif kind == "black":
            frame[:] = 0
        made.append(frame)
    return made
