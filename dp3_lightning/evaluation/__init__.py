"""Compare anonymized videos with their originals: how steady, how real, how anonymous."""

from dp3_lightning.evaluation.figures import FaceFigures, Tools, evaluate_pair
from dp3_lightning.evaluation.views import FaceView, face_views

__all__ = ["FaceFigures", "FaceView", "Tools", "evaluate_pair", "face_views"]
