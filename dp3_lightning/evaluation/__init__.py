"""Compare anonymized videos with their originals: how steady, how real, how anonymous."""

from dp3_lightning.evaluation.figures import MEANING, FaceFigures, evaluate_pair
from dp3_lightning.evaluation.people import PersonTrack, people_figures
from dp3_lightning.evaluation.tools import Tools
from dp3_lightning.evaluation.views import FaceView, face_views

__all__ = [
    "MEANING",
    "FaceFigures",
    "FaceView",
    "PersonTrack",
    "Tools",
    "evaluate_pair",
    "face_views",
    "people_figures",
]
