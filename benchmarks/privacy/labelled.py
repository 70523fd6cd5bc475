"""Pictures with labelled faces, made from the sample clips and pictures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from dp3_lightning.assets import asset_path
from dp3_lightning.faces import CenterFace, YuNet
from dp3_lightning.faces.tracker import pairwise_iou
from dp3_lightning.structures import Detection, FloatArray, UInt8Array
from dp3_lightning.video import VideoReader

CLIPS = {"smile": 72, "actress": 472, "speech": 105, "carphone": 120}  # frames
PICTURES = ("group_photo", "portrait_obama", "portrait_obama2", "portrait_biden")
SIZES = (16, 20, 24, 32, 48, 80, 150, 300, 600)  # pixels of the height
_SURE = 0.5  # score of both detectors
_SAME = 0.5  # intersection over union of their boxes
_AROUND = 0.7  # of the face's height, that is pasted with it on every side


@dataclass(frozen=True)
class Labelled:
    """A picture and its faces.

    Attributes:
        name: for lists.
        kind: ``frame``, ``canvas 2x``, ``canvas 4x`` or ``pasted``.
        picture: ``(H, W, 3)`` uint8 RGB.
        faces: ``(N, 4)`` float, ``(x0, y0, x1, y1)`` in pixels.
    """

    name: str
    kind: str
    picture: UInt8Array
    faces: FloatArray


class Labeller:
    """Labels a face where CenterFace and YuNet agree, at three times a picture's own size or less.

    What one of them alone sees makes a picture useless, which is left out: nobody knows.
    """

    def __init__(self) -> None:
        self.first = CenterFace(0.2, max_side=1600, min_side=900, runtime="auto")
        self.second = YuNet(0.2, max_side=1600, min_side=900)

    def __call__(self, picture: UInt8Array) -> FloatArray | None:
        """Return ``(N, 4)`` boxes, or None where the detectors disagree."""
        (first,), (second,) = self.first([picture]), self.second([picture])
        one, two = _boxes(first), _boxes(second)
        overlaps = pairwise_iou(one, two)
        agreed = []
        for face, row in zip(first, overlaps, strict=True):
            partner = int(row.argmax()) if len(second) else -1
            if partner >= 0 and row[partner] > _SAME:
                if min(face.score, second[partner].score) > _SURE:
                    agreed.append((np.array(face.box) + two[partner]) / 2)
                    continue
                return None
            if face.score > _SURE:
                return None
        if len(second) and any(
            face.score > _SURE and not (len(first) and column.max() > _SAME)
            for face, column in zip(second, overlaps.T, strict=True)
        ):
            return None
        return np.array(agreed).reshape(-1, 4)


def _boxes(faces: list[Detection]) -> FloatArray:
    return np.array([face.box for face in faces], np.float64).reshape(-1, 4)


def read_picture(name: str) -> UInt8Array:
    """Return a sample picture, RGB, at most 1,200 pixels wide."""
    picture = cv2.imread(str(asset_path(name)))
    assert picture is not None
    scale = min(1.0, 1200 / picture.shape[1])
    small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(small[..., ::-1])


def originals(n_frames: int) -> Iterator[tuple[str, UInt8Array]]:
    """Yield frames of all clips, spread over them, and the pictures."""
    total = sum(CLIPS.values())
    for clip, length in CLIPS.items():
        count = max(2, round(n_frames * length / total))
        with VideoReader(asset_path(clip)) as reader:
            for index in np.linspace(0, len(reader) - 1, count).astype(int).tolist():
                yield f"{clip}-{index}", reader.frame(index)
    for name in PICTURES:
        yield name, read_picture(name)


def labelled_set(n_frames: int, seed: int = 0) -> Iterator[Labelled]:
    """Yield the labelled pictures: frames, frames in larger canvases, faces pasted in all sizes.

    Args:
        n_frames: frames of clips; canvases and pasted faces come from every fourth.
        seed: of places.
    """
    rng = np.random.default_rng(seed)
    label = Labeller()
    with VideoReader(asset_path("no_face")) as reader:
        empty = [reader.frame(i) for i in (0, 30, 60, 90)]
    taken = 0
    for name, picture in originals(n_frames):
        faces = label(picture)
        if faces is None:
            continue
        yield Labelled(name, "frame", picture, faces)
        taken += 1
        if taken % 4 != 1 or not len(faces):
            continue
        for times in (2, 4):
            yield _in_canvas(name, picture, faces, empty[taken % 4], times, rng)
        box = faces[int(rng.integers(len(faces)))]
        for size in rng.choice(SIZES, 5, replace=False).tolist():
            yield _pasted(name, picture, box, empty[taken % 4], int(size), rng)
    for number, frame in enumerate(empty):
        yield Labelled(f"no_face-{30 * number}", "frame", frame, np.zeros((0, 4)))


def _in_canvas(
    name: str,
    picture: UInt8Array,
    faces: FloatArray,
    empty: UInt8Array,
    times: int,
    rng: np.random.Generator,
) -> Labelled:
    height, width = picture.shape[:2]
    canvas = cv2.resize(empty, (times * width, times * height), interpolation=cv2.INTER_CUBIC)
    x, y = int(rng.integers((times - 1) * width)), int(rng.integers((times - 1) * height))
    canvas[y : y + height, x : x + width] = picture
    return Labelled(f"{name}-{times}x", f"canvas {times}x", canvas, faces + np.array([x, y, x, y]))


def _pasted(
    name: str,
    picture: UInt8Array,
    box: FloatArray,
    empty: UInt8Array,
    size: int,
    rng: np.random.Generator,
) -> Labelled:
    """Paste one face with its surroundings into a frame of 1920x1080 without faces."""
    side = box[3] - box[1]
    limits = np.array(picture.shape[1::-1])
    low = np.clip(box[:2] - _AROUND * side, 0, limits).astype(int)
    high = np.clip(box[2:] + _AROUND * side, 0, limits).astype(int)
    scale = size / side
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    crop = picture[low[1] : high[1], low[0] : high[0]]
    part = cv2.resize(crop, None, fx=scale, fy=scale, interpolation=how)[:1080, :1920]
    canvas = cv2.resize(empty, (1920, 1080), interpolation=cv2.INTER_CUBIC)
    height, width = part.shape[:2]
    x, y = int(rng.integers(1921 - width)), int(rng.integers(1081 - height))
    canvas[y : y + height, x : x + width] = part
    face = (box - np.tile(low, 2)) * scale + np.array([x, y, x, y])
    return Labelled(f"{name}-{size}px", "pasted", canvas, face[None])
