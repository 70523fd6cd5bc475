"""Compare anonymized videos with their originals: how steady, how real, how anonymous."""

from dp3_lightning.evaluation.figures import FaceFigures, evaluate_pair
from dp3_lightning.evaluation.meaning import MEANING
from dp3_lightning.evaluation.people import PersonTrack, people_figures
from dp3_lightning.evaluation.records import Evaluated, evaluate, record_of
from dp3_lightning.evaluation.tools import Tools
from dp3_lightning.evaluation.views import FaceView, face_views

__all__ = [
    "MEANING",
    "Evaluated",
    "FaceFigures",
    "FaceView",
    "PersonTrack",
    "Tools",
    "evaluate",
    "evaluate_pair",
    "face_views",
    "people_figures",
    "record_of",
]
