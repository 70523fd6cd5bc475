"""Faces that are known exactly: the mean mesh in any pose, painted in one colour."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from dp3_lightning.anonymize.planning.plan import Plan, PlannedTrack
from dp3_lightning.anonymize.rendering.mesh.cast import Casting
from dp3_lightning.anonymize.rendering.mesh.motion import RawMotion, TrackMotion, track_motion
from dp3_lightning.anonymize.rendering.mesh.people import DrawnFace, Person
from dp3_lightning.anonymize.rendering.mesh.renderer import MeshRenderer
from dp3_lightning.anonymize.rendering.mesh.role import Role
from dp3_lightning.anonymize.rendering.mesh.wishes import motion_values
from dp3_lightning.faces.appearance import scaled_outline
from dp3_lightning.faces.expression import expression_signals, place, pose_angles
from dp3_lightning.generators.face_prior.latent_model import LatentModel
from dp3_lightning.generators.face_prior.warp import MeshWarp

REFERENCE = LatentModel.load().reference
TRIANGLES = [t for t in MeshWarp(REFERENCE).triangles if max(t) < len(REFERENCE)]
MAGENTA = (255, 0, 255)  # the real face
SKIN = (190, 140, 115)  # the drawn one
SIZE = (240, 320)


def rotation(yaw: float = 0.0, pitch: float = 0.0, roll: float = 0.0) -> np.ndarray:
    """Rotation of degrees as ``pose_angles`` reads them."""
    y, p, r = np.radians([yaw, pitch, roll])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(p), -np.sin(p)], [0, np.sin(p), np.cos(p)]])
    about_z = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    return about_y @ about_x @ about_z


def posed(
    center: tuple[float, float] = (160, 110),
    scale: float = 40.0,
    shape: np.ndarray | None = None,
    **angles: float,
) -> np.ndarray:
    """Mesh of a face in a frame, pixels."""
    points = REFERENCE if shape is None else shape
    return place(points, scale, rotation(**angles), np.array([*center, 0.0]))


def bounds(mesh: np.ndarray, margin: float = 2.0) -> tuple[float, float, float, float]:
    low, high = mesh[:, :2].min(0) - margin, mesh[:, :2].max(0) + margin
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def painted(
    mesh: np.ndarray, size: tuple[int, int] = SIZE, color: tuple[int, int, int] = MAGENTA
) -> np.ndarray:
    """A frame with smooth texture and a face of one colour, with all that its mesh covers."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(60, 200, (size[0] // 16, size[1] // 16, 1)).repeat(3, 2).astype(np.uint8)
    frame = cv2.resize(coarse, (size[1], size[0]), interpolation=cv2.INTER_CUBIC)
    outline = scaled_outline(mesh, 1.0) - 0.5
    cv2.fillPoly(frame, [np.round(outline * 16).astype(np.int32)], color, cv2.LINE_8, 4)
    for triangle in TRIANGLES:
        corners = np.round((mesh[triangle, :2] - 0.5) * 16).astype(np.int32)
        cv2.fillConvexPoly(frame, corners, color, cv2.LINE_8, 4)
    return frame


def magenta_left(frame: np.ndarray) -> int:
    """Pixels in which the real face's colour shows, also when mixed with another."""
    levels = frame.astype(int)
    return int((np.minimum(levels[..., 0], levels[..., 2]) - levels[..., 1] > 60).sum())


class FlatPainter:
    """Draws a face of one colour with a given shape; counts how often."""

    size = 256

    def __init__(self, shape: np.ndarray | None = None, color: tuple[int, int, int] = SKIN) -> None:
        self.shape = REFERENCE if shape is None else shape
        self.color, self.drawn = color, 0

    def face(self) -> DrawnFace:
        mesh = place(self.shape, 68.0, np.eye(3), np.array([128.0, 118.0, 0.0]))
        picture = np.full((256, 256, 3), self.color, np.uint8)
        angles = pose_angles(np.eye(3)[None])[0]
        return DrawnFace(
            picture, mesh, motion_values(angles, expression_signals(self.shape)), self.shape
        )

    def choose(self, *arguments: object, **options: object) -> Person:
        face = self.face()
        return Person(np.zeros(512), torch.zeros(512), face.frontal, np.zeros(3), face)

    def express(self, person: Person, motion: np.ndarray, corrections: int = 1) -> DrawnFace:
        self.drawn += 1
        return self.face()


def motion_of(meshes: list[np.ndarray], trusted: np.ndarray | None = None) -> TrackMotion | None:
    raw = RawMotion.empty(len(meshes))
    raw.meshes[:] = np.array(meshes)
    raw.trusted[:] = True if trusted is None else trusted
    return track_motion(raw, REFERENCE)


def one_track_plan(
    meshes: list[np.ndarray], size: tuple[int, int] = SIZE, **changes: object
) -> Plan:
    boxes = [bounds(mesh) for mesh in meshes]
    options = {"origins": ["detected"] * len(meshes), **changes}
    track = PlannedTrack("person-1", 0, boxes, **options)  # type: ignore[arg-type]
    return Plan("clip.mp4", "0" * 64, len(meshes), size, [track])


def renderer_of(
    meshes: list[np.ndarray],
    frames: list[np.ndarray],
    painter: FlatPainter | None = None,
    plan: Plan | None = None,
) -> MeshRenderer:
    """A renderer of one track that moves as the meshes do."""
    painter = painter or FlatPainter()
    casting = Casting(lambda _: painter, MeshWarp(REFERENCE))  # type: ignore[arg-type, return-value]
    motion = motion_of(meshes)
    assert motion is not None
    plan = plan or one_track_plan(meshes, frames[0].shape[:2])
    role: Role = casting.role(
        0, plan.tracks[0].boxes, motion, torch.zeros(1, 512), frames.__getitem__
    )
    return MeshRenderer(plan, {0: role}, casting)
