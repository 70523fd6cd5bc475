"""Collect the networks that measure videos, and name those that this machine lacks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import nn

from dp3_lightning.assets import AssetUnavailableError, asset_path
from dp3_lightning.evaluation.meshes import MESH_FIGURES
from dp3_lightning.faces import CenterFace, DlibEmbedder
from dp3_lightning.faces.embedder import FaceEmbedder
from dp3_lightning.faces.mesh import FaceMesh
from dp3_lightning.losses.perceptual import MobileNetV2Distance, lpips_distance, lpips_trunk
from dp3_lightning.metrics import (
    FakeDetector,
    PictureFeatures,
    inception_features,
    mobilenet_features,
)
from dp3_lightning.optical_flow import FarnebackFlow, FlowEstimator
from dp3_lightning.structures import FaceDetector

_BY_RECOGNISER = (
    "identity distance", "identity distance, least", "recognised", "TL-ID", "TG-ID",
    "identity flicker", "people",
)  # fmt: skip
_BY_FEATURES = (
    "MobileNetV2 Frechet", "MobileNetV2 kernel distance", "MobileNetV2 kernel distance, low",
    "MobileNetV2 kernel distance, high", "detectability, AUC",
)  # fmt: skip


@dataclass
class Tools:
    """Hold the networks that measure figures.

    Attributes:
        flow: for scoring; of another family than rendering and training used.
        detector: decides whether a face is still detected.
        embedder: recogniser; None skips the figures of identity.
        perceptual: distance of pictures, ``(N, 3, H, W)`` twice to N values; None skips tLP.
        perceptual_name: its name in tables.
        features: by which distributions of pictures are compared; None skips that.
        fake_detector: detector of generated faces, a user's own; None skips it.
        mesh: finds landmarks; None skips how the face moves, and the tone of its skin.
        skipped: figure to the reason why it is left out.
    """

    flow: FlowEstimator
    detector: FaceDetector
    embedder: FaceEmbedder | None
    perceptual: nn.Module | None
    perceptual_name: str
    features: PictureFeatures | None
    fake_detector: FakeDetector | None = None
    mesh: FaceMesh | None = None
    skipped: dict[str, str] = field(default_factory=dict)

    @classmethod
    def at_hand(cls, embedder: FaceEmbedder | None = None) -> Tools:
        """Return the tools that this machine has; missing ones are named in ``skipped``.

        Args:
            embedder: recogniser; default :class:`~dp3_lightning.faces.DlibEmbedder`. Never the one
                that a generator was trained against.
        """
        skipped: dict[str, str] = {}
        if embedder is None:
            try:
                known = DlibEmbedder()
                for name in ("dlib_shape_predictor_5", "dlib_face_recognition"):
                    asset_path(name)  # fetched now, not in the middle of measuring
                embedder = known
            except (ModuleNotFoundError, AssetUnavailableError) as error:
                skipped |= dict.fromkeys(_BY_RECOGNISER, str(error).splitlines()[0])
        mobilenet: MobileNetV2Distance | None = None
        why = ""
        try:
            mobilenet = MobileNetV2Distance(asset_path("mobilenet_v2"))
        except AssetUnavailableError as error:
            why = str(error).splitlines()[0]
        features = inception_features()
        if features is None and mobilenet is not None:
            features = mobilenet_features(mobilenet)
        elif features is None:
            skipped |= dict.fromkeys(_BY_FEATURES, why)
        perceptual: nn.Module | None = None
        name = ""
        if lpips_trunk("alex").is_file():
            perceptual, name = lpips_distance("alex"), "LPIPS"
        elif mobilenet is not None:
            perceptual, name = mobilenet, "MobileNetV2 feature distance"
        else:
            missing = "neither LPIPS's trunk nor MobileNetV2 is available"
            skipped |= dict.fromkeys(("tLP", "interior perceptual distance"), missing)
        mesh: FaceMesh | None = None
        try:
            asset_path("face_mesh")
            mesh = FaceMesh()
        except AssetUnavailableError as error:
            skipped |= dict.fromkeys(MESH_FIGURES, str(error).splitlines()[0])
        detector = CenterFace(threshold=0.5, runtime="auto")
        return cls(
            FarnebackFlow(), detector, embedder, perceptual, name, features, mesh=mesh,
            skipped=skipped,
        )  # fmt: skip

    def describe(self) -> dict[str, Any]:
        """Return plain values for the record."""
        return {
            "flow": self.flow.name,
            "detector": self.detector.name,
            "recogniser": self.embedder.name if self.embedder else None,
            "recogniser_threshold": self.embedder.threshold if self.embedder else None,
            "perceptual": self.perceptual_name or None,
            "features": self.features.name if self.features else None,
            "mesh": None if self.mesh is None else "MediaPipe face mesh",
            "fake_detector": self.fake_detector.name if self.fake_detector else None,
        }
