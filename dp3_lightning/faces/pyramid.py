"""Find small and large faces in frames of any size: the frame at several scales, in tiles.

Networks find faces of about 20 to 600 pixels of their input. A frame is therefore shown at its full
resolution, for small faces, and shrunk threefold again and again, for large ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np

from dp3_lightning.checks import check_above, check_at_least
from dp3_lightning.faces.detector import check_frame
from dp3_lightning.faces.tiling import merge
from dp3_lightning.structures import Detection, UInt8Array

_STEP = 3.0  # from one level to the next
_COARSEST = 320  # pixels of the longer side at which levels end
# Pixels of a level, in tiles or whole, that the finer one shows three times as large and as well:
# what only the coarser one sees there is a face where it is sure. So it is in turned pictures.
_SEEN_FINER, _SEEN_FINER_WHOLE, _SURE = 40.0, 70.0, 0.7
_LARGEST = 600.0  # pixels of a level; larger faces are left to the next one
_MULTIPLE = 32
_TILE = 1536  # pixels; memory is bounded by the tile, not by the frame
_OVERLAP = 128  # pixels of tiles; larger faces are whole in the next level
_BORDER, _COARSE_BORDER = 16, 32  # pixels that are mirrored at the frame's border
_INSIDE = 0.3  # share of a face that is in the frame; less is a mirror image
_TURNED_SIDE = 1280  # pixels of the longer side at which turned pictures are looked at
_MOST_GAIN = 1.5  # scale up to which enlarging makes smaller faces findable
_MOST_PIXELS = 40_000_000  # of patches that are held at a time


class ScaledDetector(Protocol):
    """A detector that looks at pictures as they are; see ``CenterFace(max_side=None, ...)``."""

    name: str

    @property
    def family(self) -> str:
        """Return the kind of the network."""
        ...

    @property
    def smallest(self) -> float:
        """Return the height in pixels of the smallest face that it finds."""
        ...

    @property
    def files(self) -> dict[str, str]:
        """Return hashes of its models."""
        ...

    def __call__(self, frames: list[UInt8Array]) -> list[list[Detection]]:
        """Detect faces; see :class:`dp3_lightning.structures.FaceDetector`."""
        ...


@dataclass(frozen=True)
class _Patch:
    """A part of a frame as the network sees it.

    Attributes:
        pixels: ``(h, w, 3)`` uint8; sides are multiples of 32.
        corner: ``(x, y)`` of the patch in the level, without the mirrored border.
        scale: ``(x, y)`` level pixels per frame pixel.
        inner: per side (left, top, right, bottom), whether the level goes on there.
        turns: quarter turns, counter-clockwise, of the level.
        level: ``(height, width)`` of the level after turning.
        is_coarsest: whether no further level follows.
        seen_finer: pixels; smaller faces are the finer level's to find.
    """

    pixels: UInt8Array
    corner: tuple[int, int]
    scale: tuple[float, float]
    inner: tuple[bool, bool, bool, bool]
    turns: int
    level: tuple[int, int]
    is_coarsest: bool
    seen_finer: float


class PyramidDetector:
    """Runs a detector at every scale of a frame and merges the answers.

    Borders are mirrored outwards, by which faces that the frame cuts are found: of faces with a
    third left, nearly all instead of half.

    Args:
        detector: looks at pictures as they are, without shrinking or enlarging them.
        finest: largest scale at which a frame is looked at; 1 is its own size.
        min_side: frames whose shorter side has fewer pixels are enlarged to it, as long as the
            longer side stays within twice as many.
        turned: look at frames on their side and upside down, too.

    Attributes:
        name: encodes everything that changes the answers.
        family: the detector's.
        files: hashes of the detector's models.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        detector: ScaledDetector,
        finest: float = 1.0,
        min_side: int = 320,
        turned: bool = False,
    ) -> None:
        check_above(0, finest=finest)
        check_at_least(1, min_side=min_side)
        self.detector, self.finest, self.min_side, self.turned = detector, finest, min_side, turned
        self.name = f"{detector.name}-pyramid{finest:g}-{min_side}{'-turned' if turned else ''}"
        self.family, self.files = detector.family, detector.files
        self.threshold = float(getattr(detector, "threshold", 0.0))

    def __call__(self, frames: list[UInt8Array]) -> list[list[Detection]]:
        """Detect faces in ``(H, W, 3)`` uint8 RGB frames; boxes in pixels of the frame.

        Raises:
            TypeError: a frame is not a uint8 array.
            ValueError: a frame has another shape.
        """
        for index, frame in enumerate(frames):
            check_frame(index, frame)
        found: list[list[Detection]] = [[] for _ in frames]
        waiting: list[tuple[int, _Patch]] = []
        held = 0
        for number, frame in enumerate(frames):
            for patch in self._patches(frame):
                waiting.append((number, patch))
                held += patch.pixels.size // 3
                if held > _MOST_PIXELS:
                    self._look(waiting, found)
                    held = 0
        self._look(waiting, found)
        return [merge(faces) for faces in found]

    def smallest_face(self, height: int, width: int) -> float:
        """Return the height in pixels of the smallest face that is found in frames of a size."""
        return self.detector.smallest / min(self._finest(height, width), _MOST_GAIN)

    def _finest(self, height: int, width: int) -> float:
        enlarged = self.min_side * min(1 / min(height, width), 2 / max(height, width))
        return max(self.finest, enlarged)

    def _look(self, waiting: list[tuple[int, _Patch]], found: list[list[Detection]]) -> None:
        if not waiting:
            return
        answers = self.detector([patch.pixels for _, patch in waiting])
        for (number, patch), faces in zip(waiting, answers, strict=True):
            found[number] += [_in_frame(face, patch) for face in faces if _is_whole(face, patch)]
        waiting.clear()

    def _patches(self, frame: UInt8Array) -> Iterator[_Patch]:
        height, width = frame.shape[:2]
        scales = level_scales(height, width, self._finest(height, width))
        finer = 0.0
        for number, scale in enumerate(scales):
            level, along = _resized(frame, scale)
            last = number == len(scales) - 1
            border = _BORDER if number == 0 else _COARSE_BORDER
            yield from _tiles(level, along, border, 0, last, finer)
            if self.turned and (last or max(level.shape[:2]) <= _TURNED_SIDE):
                for turns in (1, 2, 3):
                    turned = np.ascontiguousarray(np.rot90(level, turns))
                    yield from _tiles(turned, along, border, turns, last, finer)
            is_whole = max(level.shape[:2]) + 2 * border <= _TILE
            finer = _SEEN_FINER_WHOLE if is_whole else _SEEN_FINER


def level_scales(height: int, width: int, finest: float) -> list[float]:
    """Return the scales at which a frame is looked at, the finest first.

    Args:
        height: of the frame in pixels.
        width: of the frame in pixels.
        finest: the first of them.
    """
    scales = [finest]
    while max(height, width) * scales[-1] > _COARSEST:
        scales.append(scales[-1] / _STEP)
    return scales


def _resized(frame: UInt8Array, scale: float) -> tuple[UInt8Array, tuple[float, float]]:
    """Return a level and its pixels per frame pixel along x and y."""
    height, width = frame.shape[:2]
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    if size == (width, height):
        return frame, (1.0, 1.0)
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    level: UInt8Array = cv2.resize(frame, size, interpolation=how)
    return level, (size[0] / width, size[1] / height)


def _tiles(
    level: UInt8Array,
    scale: tuple[float, float],
    border: int,
    turns: int,
    last: bool,
    finer: float,
) -> Iterator[_Patch]:
    """Cut a level, mirrored outwards at its border, into tiles that overlap."""
    height, width = level.shape[:2]
    down, right = (-(side + 2 * border) % _MULTIPLE for side in (height, width))
    if max(height + 2 * border + down, width + 2 * border + right) <= _TILE:
        rows, columns = [(0, height + 2 * border + down)], [(0, width + 2 * border + right)]
    else:
        rows, columns = (_spans(side + 2 * border) for side in (height, width))
        down, right = rows[-1][1] - height - 2 * border, columns[-1][1] - width - 2 * border
    wide = cv2.copyMakeBorder(
        level, border, border + down, border, border + right, cv2.BORDER_REFLECT
    )
    for y0, y1 in rows:
        for x0, x1 in columns:
            inner = (x0 > 0, y0 > 0, x1 < columns[-1][1], y1 < rows[-1][1])
            pixels = np.ascontiguousarray(wide[y0:y1, x0:x1])
            corner = (x0 - border, y0 - border)
            yield _Patch(pixels, corner, scale, inner, turns, (height, width), last, finer)


def _spans(length: int) -> list[tuple[int, int]]:
    """Lay equal spans over a length; the last one may go beyond it."""
    if length <= _TILE:
        return [(0, length + -length % _MULTIPLE)]
    count = -(-(length - _OVERLAP) // (_TILE - _OVERLAP))
    side = -(-(length + (count - 1) * _OVERLAP) // count)
    side += -side % _MULTIPLE
    starts = np.linspace(0, max(length - side, 0), count).astype(int).tolist()
    return [(start, start + side) for start in starts]


def _is_whole(face: Detection, patch: _Patch) -> bool:
    """Whether a face is the level's to report: not cut by a tile, too large, or a mirror image."""
    x0, y0, x1, y1 = face.box
    is_doubtful = patch.turns > 0 or max(x1 - x0, y1 - y0) < patch.seen_finer
    if is_doubtful and face.score < _SURE:
        return False
    height, width = patch.pixels.shape[:2]
    left, top, right, bottom = patch.inner
    cut = (left and x0 < 2) or (top and y0 < 2)
    cut = cut or (right and x1 > width - 2) or (bottom and y1 > height - 2)
    too_large = not patch.is_coarsest and max(x1 - x0, y1 - y0) > _LARGEST
    if cut or too_large:
        return False
    x, y = patch.corner
    seen_x = min(x1 + x, patch.level[1]) - max(x0 + x, 0)
    seen_y = min(y1 + y, patch.level[0]) - max(y0 + y, 0)
    if seen_x <= 0 or seen_y <= 0:
        return False
    return seen_x * seen_y >= _INSIDE * (x1 - x0) * (y1 - y0)


def _in_frame(face: Detection, patch: _Patch) -> Detection:
    """Bring a face from a patch to the frame."""
    corners = [(face.box[0], face.box[1]), (face.box[2], face.box[3])]
    (xa, ya), (xb, yb) = (_point(x, y, patch) for x, y in corners)
    box = (min(xa, xb), min(ya, yb), max(xa, xb), max(ya, yb))
    marks = face.landmarks
    placed = None if marks is None else tuple(_point(x, y, patch) for x, y in marks)
    return Detection(box, face.score, placed)


def _point(x: float, y: float, patch: _Patch) -> tuple[float, float]:
    x, y = x + patch.corner[0], y + patch.corner[1]
    height, width = patch.level
    for _ in range(patch.turns):  # undo one turn at a time; the level's sides change places
        x, y = height - y, x
        height, width = width, height
    return x / patch.scale[0], y / patch.scale[1]
