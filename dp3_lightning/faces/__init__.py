"""Detect, follow and crop faces in frames."""

from dp3_lightning.faces.choice import detector_named
from dp3_lightning.faces.crop import box_in_crop, crop_frame, expand_box, hole_mask
from dp3_lightning.faces.detector import CenterFace
from dp3_lightning.faces.dsfd import DSFD
from dp3_lightning.faces.embedder import DeepFaceEmbedder, DlibEmbedder
from dp3_lightning.faces.pyramid import PyramidDetector
from dp3_lightning.faces.sface import SFaceEmbedder
from dp3_lightning.faces.sface_network import SFaceNetwork
from dp3_lightning.faces.tiling import TiledDetector
from dp3_lightning.faces.tracker import link_detections, smooth_boxes
from dp3_lightning.faces.union import UnionDetector
from dp3_lightning.faces.yunet import YuNet

__all__ = [
    "DSFD",
    "CenterFace",
    "DeepFaceEmbedder",
    "DlibEmbedder",
    "PyramidDetector",
    "SFaceEmbedder",
    "SFaceNetwork",
    "TiledDetector",
    "UnionDetector",
    "YuNet",
    "box_in_crop",
    "crop_frame",
    "detector_named",
    "expand_box",
    "hole_mask",
    "link_detections",
    "smooth_boxes",
]
