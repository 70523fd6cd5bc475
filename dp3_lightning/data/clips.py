"""Decode, crop and normalise clips, and measure their flow: the data set."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from dp3_lightning.data.clip_index import ClipEntry, measured_jitter
from dp3_lightning.faces.alignment import upright_points
from dp3_lightning.faces.crop import (
    ExpansionRule,
    box_in_crop,
    crop_frame,
    expand_box,
    hole_mask,
)
from dp3_lightning.faces.expression import five_points
from dp3_lightning.faces.mesh import GOOD_PRESENCE, FaceMesh
from dp3_lightning.faces.tracker import smooth_boxes
from dp3_lightning.optical_flow import FlowEstimator
from dp3_lightning.randomness import stable_hash
from dp3_lightning.structures import FloatArray, UInt8Array, Window
from dp3_lightning.video import VideoReader

HoleJitter = Literal["detected", "measured", "none"]
MAX_OPEN_VIDEOS = 8


class VideoClips(Dataset[dict[str, Any]]):
    """Serve clips of face crops, with one crop window per clip.

    Args:
        readers: one per video; each process keeps the last few open.
        entries: the clips.
        clip_length: frames per clip.
        image_size: ``(height, width)`` of the crops.
        rule: how a face box grows to the crop window.
        flip: probability of mirroring a clip.
        hole_jitter: ``detected``: holes are the detector's boxes, with their jitter; ``measured``:
            smoothed boxes plus Gaussian jitter of the deviation measured on the clip, drawn again
            in every epoch; ``none``: smoothed boxes.
        window_jitter: deviation of the window's position per frame, as a fraction of its side; its
            motion is in the measured flow. 0 for one fixed window.
        flow: measure the flow of the real crops, or None.
        mesh: finds the landmarks of the real faces, or None.
        seed: of flips and jitter, which depend on (seed, epoch, clip) only.
    """

    def __init__(
        self,
        readers: Sequence[VideoReader],
        entries: Sequence[ClipEntry],
        clip_length: int,
        image_size: tuple[int, int],
        rule: ExpansionRule = "fdf128",
        flip: float = 0.0,
        hole_jitter: HoleJitter = "detected",
        window_jitter: float = 0.0,
        flow: FlowEstimator | None = None,
        seed: int = 0,
        mesh: FaceMesh | None = None,
    ) -> None:
        self.mesh = mesh
        self.readers, self.entries = list(readers), list(entries)
        self.clip_length, self.image_size, self.rule = clip_length, image_size, rule
        self.flip, self.hole_jitter, self.window_jitter = flip, hole_jitter, window_jitter
        self.flow, self.seed = flow, seed
        self._open: OrderedDict[int, VideoReader] = OrderedDict()

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, key: int | tuple[int, int]) -> dict[str, Any]:
        """Return clip ``key`` (or ``(clip, epoch)``), see ``structures``; no batch dimension."""
        index, epoch = key if isinstance(key, tuple) else (key, 0)
        entry = self.entries[index]
        rng = np.random.default_rng(stable_hash(self.seed, "augment", epoch, index))
        reader = self.readers[entry.video]
        windows = self._windows(entry.boxes, reader.size, rng)
        frames, cuts = self._decode(entry, windows)
        holes = self._holes(entry.boxes, rng)
        crops = np.stack(
            [crop_frame(f, w, self.image_size) for f, w in zip(frames, cuts, strict=True)]
        )
        flipped = bool(rng.random() < self.flip)
        if flipped:
            crops = crops[:, :, ::-1]
        boxes = np.concatenate(
            [self._in_crop(b[None], w, flipped) for b, w in zip(holes, windows, strict=True)]
        )
        masks = np.stack([hole_mask(box, self.image_size) for box in boxes])
        clip = torch.from_numpy(np.ascontiguousarray(crops)).permute(0, 3, 1, 2)
        sample: dict[str, Any] = {
            "clip": clip.float().sub_(127.5).div_(127.5),
            "keep_mask": torch.from_numpy(masks)[:, None],
            "box": torch.from_numpy(boxes.astype(np.float32)),
            "frame_index": torch.arange(entry.start, entry.start + self.clip_length),
            "other_faces": self._other_faces(entry, windows, flipped),
            "sample_index": index,
            "track_key": stable_hash(reader.path.name, entry.video, entry.track),
            "frame_rate": float(reader.average_rate),
            "source": reader.path.name,
            "pair_valid": torch.ones(self.clip_length - 1, dtype=torch.bool),
        }
        if self.mesh is not None:
            sample["landmarks"] = find_landmarks(self.mesh, crops, boxes)
        if self.flow is not None and self.clip_length > 1:
            sample |= measure_flow(sample["clip"], self.flow)
        return sample

    def _in_crop(self, boxes: FloatArray, window: Window, flipped: bool) -> FloatArray:
        """Return boxes ``(n, 4)`` of the frame in pixels of the crop, which may be stretched."""
        height, width = self.image_size
        moved = np.array([box_in_crop(box, window, (height, width)) for box in boxes])
        moved = moved.reshape(-1, 4)
        # box_in_crop scales both axes alike, as DeepPrivacy2 does; the crop is stretched.
        moved[:, ::2] *= width / height
        if flipped:
            moved[:, [0, 2]] = width - moved[:, [2, 0]]
        return moved

    def _other_faces(self, entry: ClipEntry, windows: Sequence[Window], flipped: bool) -> Tensor:
        """Mark other people's faces, ``(T, 1, H, W)`` uint8."""
        others = entry.others or [np.zeros((0, 4))] * self.clip_length
        found = torch.zeros(self.clip_length, 1, *self.image_size, dtype=torch.uint8)
        for frame, (boxes, window) in enumerate(zip(others, windows, strict=True)):
            for box in self._in_crop(boxes, window, flipped):
                found[frame, 0] |= torch.from_numpy(hole_mask(box, self.image_size) == 0)
        return found

    def _decode(
        self, entry: ClipEntry, windows: Sequence[Window]
    ) -> tuple[list[UInt8Array], list[Window]]:
        """Return the part of the frames around all windows, and the windows in that part."""
        reader = self._open.pop(entry.video, None) or self.readers[entry.video]
        self._open[entry.video] = reader
        while len(self._open) > MAX_OPEN_VIDEOS:
            self._open.popitem(last=False)[1].close()
        (height, width), bounds = reader.size, np.array(windows)
        x0, y0 = (int(v) for v in bounds[:, :2].min(axis=0).clip(0, (width - 1, height - 1)))
        x1, y1 = (int(v) for v in bounds[:, 2:].max(axis=0).clip((x0 + 1, y0 + 1), (width, height)))
        frames = reader.frames(entry.start, entry.start + self.clip_length, (x0, y0, x1, y1))
        moved = [(w[0] - x0, w[1] - y0, w[2] - x0, w[3] - y0) for w in windows]
        return list(frames), moved

    def _windows(
        self, boxes: FloatArray, frame_size: Sequence[int], rng: np.random.Generator
    ) -> list[Window]:
        window = expand_box(boxes.mean(axis=0).tolist(), frame_size, self.rule)
        union = np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])
        if (union[:2] < window[:2]).any() or (union[2:] > window[2:]).any():
            # The face moves out of the window around its mean place: one around all places.
            window = expand_box(union.tolist(), frame_size, self.rule)
        if self.window_jitter == 0:
            return [window] * len(boxes)
        side = window[2] - window[0]
        shifts = np.rint(rng.normal(0, self.window_jitter * side, size=(len(boxes), 2))).astype(int)
        return [
            (window[0] + int(dx), window[1] + int(dy), window[2] + int(dx), window[3] + int(dy))
            for dx, dy in shifts
        ]

    def _holes(self, boxes: FloatArray, rng: np.random.Generator) -> FloatArray:
        if self.hole_jitter == "detected":
            return boxes
        smooth = smooth_boxes(boxes)
        if self.hole_jitter == "none":
            return smooth
        side = float((boxes[:, 2:] - boxes[:, :2]).mean())
        return smooth + rng.normal(0, measured_jitter(boxes) * side, size=boxes.shape)


def find_landmarks(mesh: FaceMesh, crops: npt.NDArray[Any], boxes: FloatArray) -> Tensor:
    """Find the five landmarks of the face in every crop; without a mesh, those of an upright face.

    Args:
        mesh: finds meshes.
        crops: ``(T, H, W, 3)`` levels of 0 to 255.
        boxes: ``(T, 4)`` in pixels of the crop.

    Returns:
        ``(T, 5, 2)`` float32, pixels of the crop.
    """
    rows = []
    for crop, box in zip(crops, boxes, strict=True):
        picture = np.ascontiguousarray(np.clip(np.rint(crop), 0, 255).astype(np.uint8))
        face = mesh.locate(picture, box.tolist())
        known = face is not None and face.presence > GOOD_PRESENCE
        rows.append(five_points(face.points) if face and known else upright_points(box))
    return torch.from_numpy(np.stack(rows).astype(np.float32))


def measure_flow(clip: Tensor, estimator: FlowEstimator) -> dict[str, Tensor]:
    """Measure the four flow fields of a clip ``(T, 3, H, W)``; see ``structures`` for the keys.

    Returns:
        ``(T-1, 2, H, W)`` each, pixels. The pair (1, 0) is in both ranges and measured once.
    """
    now, before = clip[1:], clip[:-1]
    to_previous, from_previous = estimator(now, before), estimator(before, now)
    to_first, from_first = to_previous[:1], from_previous[:1]
    if len(clip) > 2:
        later, first = clip[2:], clip[:1].expand_as(clip[2:])
        to_first = torch.cat([to_first, estimator(later, first)])
        from_first = torch.cat([from_first, estimator(first, later)])
    return {
        "flow_to_previous": to_previous,
        "flow_from_previous": from_previous,
        "flow_to_first": to_first,
        "flow_from_first": from_first,
    }
