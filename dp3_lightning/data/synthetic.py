"""Render talking-face clips with exact flow, visibility and boxes: the oracle of the tests.

A scene is a stack of three opaque layers (background, head, hand). A layer is an analytic colour
function of its own *surface coordinates*, and each frame places it by a similarity transform. The
colour of a surface point never changes, so the flow between two frames is exact by construction:
take a pixel to surface coordinates with the pose of one frame and back with that of the other.
Only the mouth deforms its layer, by a smooth displacement that is closed form from surface to image
and a fixed-point iteration the other way. Frames are point-sampled (layer borders are not blended),
so every pixel belongs to one layer and visibility is exact as well.

Points are complex numbers ``x + iy`` (y down): a similarity is then ``turn * point + shift``, and
``abs(turn)`` is its scale. Surface units: pixels for the background, half a face height for the
head and the hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dp3_lightning.checks import check_at_least
from dp3_lightning.data.synthetic_layers import (
    FaceLook,
    Mask,
    Points,
    Pose,
    background_waves,
    hand_colours,
    hand_covers,
    poses,
    waves,
)
from dp3_lightning.structures import FloatArray, UInt8Array

Flow = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int8]

BACKGROUND, HEAD, HAND = 0, 1, 2  # the later covers the earlier
MIN_SIDE = 16


@dataclass(frozen=True)
class SyntheticClip:
    """Hold a rendered clip and its exact ground truth.

    Entry ``i`` of the pairwise arrays belongs to frame ``t = i + 1``. Where a pair spans a cut its
    flow is 0 and nothing is visible.

    Attributes:
        frames: ``(T, H, W, 3)`` uint8 RGB.
        boxes: ``(T, 4)`` float64 xyxy in pixels, x1/y1 exclusive (pixel i spans ``[i, i + 1)``):
            bounding box of the face ellipse, forehead to chin without hair; may leave the frame.
        identity: the identity that was drawn.
        pair_valid: ``(T-1,)``, False where frame t does not continue frame t-1.
        flow_to_previous: ``(T-1, 2, H, W)`` float32 pixels (dx, dy), t to t-1, on the grid of t.
        flow_from_previous: same, t-1 to t, on the grid of t-1.
        flow_to_first: same, t to 0, on the grid of t.
        flow_from_first: same, 0 to t, on the grid of frame 0.
        visible_in_previous: ``(T-1, H, W)`` on the grid of t: True where the surface point is also
            seen in frame t-1, i.e. neither outside that frame nor behind another layer.
        visible_in_first: same for frame 0.
    """

    frames: UInt8Array
    boxes: FloatArray
    identity: int
    pair_valid: Mask
    flow_to_previous: Flow
    flow_from_previous: Flow
    flow_to_first: Flow
    flow_from_first: Flow
    visible_in_previous: Mask
    visible_in_first: Mask


def synthetic_clip(
    identity: int = 0,
    n_frames: int = 16,
    size: tuple[int, int] = (96, 128),
    motion: float = 1.0,
    mouth: bool = True,
    occluder: bool = False,
    cuts: Sequence[int] = (),
    seed: int = 0,
    noise: float = 0.0,
) -> SyntheticClip:
    """Render a talking head in front of a panning background, with exact ground truth.

    The face depends on ``identity`` only; background, position and motion depend on ``seed`` and
    the scene only. So two identities with one seed differ in nothing but the head.

    Args:
        identity: >= 0; colours and proportions of face and hair.
        n_frames: >= 1.
        size: (height, width) in pixels, each >= 16. Faces and motion scale with the smaller side.
        motion: >= 0, factor on head motion and background pan; 0 holds both still. At 1 the head
            moves by 1.8 % of the smaller side per frame on average (1.4 to 2.3 %).
        mouth: whether the mouth opens and closes.
        occluder: whether a hand crosses the face, over its centre in the middle of the clip.
        cuts: indices of the first frames of new scenes, each in ``1 .. n_frames - 1``.
        seed: >= 0.
        noise: standard deviation of Gaussian sensor noise in grey levels (0..255), >= 0. It breaks
            the equality of colours along the flow; everything else stays exact.

    Returns:
        The clip; equal arguments give equal arrays.

    Raises:
        ValueError: an argument is out of range.
    """
    _check(identity, n_frames, size, motion, cuts, seed, noise)
    stage = _Stage(identity, n_frames, size, motion, mouth, occluder, sorted(set(cuts)), seed)
    frames = np.stack([stage.colours(t) for t in range(n_frames)]) * 255.0
    if noise > 0:
        frames += np.random.default_rng((seed, identity, 3)).normal(0.0, noise, frames.shape)
    times = range(1, n_frames)
    to_previous, visible_in_previous = stage.moves([(t, t - 1) for t in times])
    to_first, visible_in_first = stage.moves([(t, 0) for t in times])
    return SyntheticClip(
        frames=np.rint(np.clip(frames, 0.0, 255.0)).astype(np.uint8),
        boxes=np.stack([stage.box(t) for t in range(n_frames)]),
        identity=identity,
        pair_valid=np.diff(stage.scene) == 0,
        flow_to_previous=to_previous,
        flow_from_previous=stage.moves([(t - 1, t) for t in times])[0],
        flow_to_first=to_first,
        flow_from_first=stage.moves([(0, t) for t in times])[0],
        visible_in_previous=visible_in_previous,
        visible_in_first=visible_in_first,
    )


def _check(
    identity: int,
    n_frames: int,
    size: tuple[int, int],
    motion: float,
    cuts: Sequence[int],
    seed: int,
    noise: float,
) -> None:
    check_at_least(0, identity=identity, seed=seed, motion=motion, noise=noise)
    check_at_least(1, n_frames=n_frames)
    if min(size) < MIN_SIDE:
        raise ValueError(f"Expected `size` (height, width) >= {MIN_SIDE} px per side, got {size}.")
    if any(not 1 <= cut < n_frames for cut in cuts):
        raise ValueError(
            f"Expected `cuts` (first frames of new scenes) in 1..{n_frames - 1}, got {list(cuts)}."
        )


class _Stage:
    """Compute poses, surfaces and colours of all layers in all frames of one clip."""

    def __init__(
        self,
        identity: int,
        n_frames: int,
        size: tuple[int, int],
        motion: float,
        mouth: bool,
        occluder: bool,
        cuts: list[int],
        seed: int,
    ) -> None:
        self.size, self.occluder, self.look = size, occluder, FaceLook(identity)
        self.scene = np.searchsorted(cuts, np.arange(n_frames), side="right")
        y, x = np.mgrid[: size[0], : size[1]].astype(np.float64)
        self.grid: Points = x + 1j * y
        self.textures = [background_waves(seed, k, min(size)) for k in range(len(cuts) + 1)]
        self.poses: list[tuple[Pose, Pose, Pose]] = [
            poses(seed, int(scene), t - (n_frames - 1) / 2, size, motion)
            for t, scene in enumerate(self.scene)
        ]
        phase = np.random.default_rng((seed, 2)).uniform(0, 2 * np.pi)
        # Between -0.25 (closed) and 0.5 (wide open); the texture itself is drawn slightly open.
        swing = 0.125 + 0.375 * np.sin(2 * np.pi * np.arange(n_frames) / 11 + phase)
        self.opening = swing if mouth else np.zeros(n_frames)
        self.labels = [self.label_at(self.grid, t) for t in range(n_frames)]
        self.surfaces = [self._surface(t) for t in range(n_frames)]

    def label_at(self, points: Points, t: int) -> Labels:
        """Return the topmost layer at any image points of frame t."""
        label: Labels = np.full(points.shape, BACKGROUND, np.int8)
        # The mouth maps the face onto itself, so the silhouette needs no inverse of it.
        label[self.look.covers(self._undo(points, t, HEAD))] = HEAD
        if self.occluder:
            label[hand_covers(self._undo(points, t, HAND))] = HAND
        return label

    def moves(self, pairs: list[tuple[int, int]]) -> tuple[Flow, Mask]:
        """Return flow ``(n, 2, H, W)`` from frame a to b on the grid of a, and what b shows."""
        flow = np.zeros((len(pairs), 2, *self.size), np.float32)
        seen = np.zeros((len(pairs), *self.size), np.bool_)
        for k, (a, b) in enumerate(pairs):
            if self.scene[a] == self.scene[b]:
                flow[k], seen[k] = self._move(a, b)
        return flow, seen

    def _move(self, a: int, b: int) -> tuple[FloatArray, Mask]:
        target = np.empty_like(self.grid)
        for layer, mask in enumerate(self._masks(a)):
            points = self.surfaces[a][mask]
            if layer == HEAD:
                points = self.look.speak(points, float(self.opening[b]))
            turn, shift = self.poses[b][layer]
            target[mask] = turn * points + shift
        bottom, right = self.size[0] - 1, self.size[1] - 1
        # A still pixel of the border must not leave the frame by rounding, hence the margin.
        inside = np.abs(target.real - right / 2) <= right / 2 + 1e-6
        inside &= np.abs(target.imag - bottom / 2) <= bottom / 2 + 1e-6
        flow = target - self.grid
        seen: Mask = inside & (self.label_at(target, b) == self.labels[a])
        return np.stack([flow.real, flow.imag]), seen

    def colours(self, t: int) -> FloatArray:
        """Return frame t, ``(H, W, 3)`` in [0, 1]."""
        picture = np.empty((*self.size, 3))
        background, head, hand = self._masks(t)
        surface = self.surfaces[t]
        picture[background] = waves(surface[background], self.textures[self.scene[t]])
        picture[head] = self.look.colours(surface[head])
        picture[hand] = hand_colours(surface[hand])
        return picture

    def box(self, t: int) -> FloatArray:
        """Return the exact bounding box of the face ellipse in frame t."""
        turn, shift = self.poses[t][HEAD]
        half_width = np.hypot(turn.real * self.look.aspect, turn.imag)
        half_height = np.hypot(turn.imag * self.look.aspect, turn.real)
        # Pixel i has its centre at i here and at i + 0.5 in box coordinates.
        x, y = shift.real + 0.5, shift.imag + 0.5
        return np.array([x - half_width, y - half_height, x + half_width, y + half_height])

    def _undo(self, points: Points, t: int, layer: int) -> Points:
        turn, shift = self.poses[t][layer]
        undone: Points = (points - shift) / turn
        return undone

    def _masks(self, t: int) -> list[Mask]:
        return [self.labels[t] == layer for layer in (BACKGROUND, HEAD, HAND)]

    def _surface(self, t: int) -> Points:
        surface = np.empty_like(self.grid)
        for layer, mask in enumerate(self._masks(t)):
            points = self._undo(self.grid[mask], t, layer)
            if layer == HEAD:
                points = self.look.unspeak(points, float(self.opening[t]))
            surface[mask] = points
        return surface
