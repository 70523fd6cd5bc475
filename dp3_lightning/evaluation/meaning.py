"""Say what the figures of a face mean, and in which direction each is better."""

from __future__ import annotations

from typing import Literal, NamedTuple

from dp3_lightning.metrics import MOTION_SIGNALS

Better = Literal["lower", "higher", "one", "neither"]  # one: as the original, 1


class Meaning(NamedTuple):
    """Describe one figure.

    Attributes:
        text: in a sentence.
        better: direction in which an anonymized video is better; of leak proxies the private one.
    """

    text: str
    better: Better

    @property
    def direction(self) -> str:
        """Return the better direction in words; empty where neither is better."""
        words = {"lower": "lower is better", "higher": "higher is better", "one": "best at 1"}
        return words.get(self.better, "")


MEANING = {
    "excess warping error": Meaning(
        "warping error in the face beyond the original's, x1e-4", "lower"
    ),
    "excess warping error, ring": Meaning("the same in the 16 px around the face", "lower"),
    "excess warping error, view": Meaning("the same in the face and its surroundings", "lower"),
    "tOF": Meaning("difference of motion to the original, pixels", "lower"),
    "tLP": Meaning("difference of perceptual change to the original, x1e-2", "lower"),
    "flicker": Meaning(
        "frame-to-frame change of the face's mean colour, relative to the original", "one"
    ),
    "TL-ID": Meaning(
        "neighbours among up to 24 spread frames are one person, relative to the original", "higher"
    ),
    "TG-ID": Meaning("all of those frames are one person, relative to the original", "higher"),
    "sharpness": Meaning("gradient energy of the face, relative to the original", "one"),
    "high frequencies": Meaning("share of contrast in details, relative to the original", "one"),
    "total variation": Meaning("total variation of the face, relative to the original", "one"),
    "FID": Meaning("distance of Inception feature distributions to the original's", "lower"),
    "KID": Meaning("the same by the cubic kernel, unbiased for few frames", "lower"),
    "KID, low": Meaning("lower end of its interval (95 %, blocks of frames drawn)", "neither"),
    "KID, high": Meaning("upper end of its interval", "neither"),
    "MobileNetV2 Frechet": Meaning(
        "distance of MobileNetV2 feature distributions to the original's, not FID", "lower"
    ),
    "MobileNetV2 kernel distance": Meaning(
        "the same by the cubic kernel, unbiased for few frames, not KID", "lower"
    ),
    "MobileNetV2 kernel distance, low": Meaning(
        "lower end of its interval (95 %, blocks of frames drawn)", "neither"
    ),
    "MobileNetV2 kernel distance, high": Meaning("upper end of its interval", "neither"),
    "identity distance": Meaning(
        "distance of drawn to real face, mean over up to 24 spread frames", "higher"
    ),
    "identity distance, least": Meaning("the same, the least of those frames", "higher"),
    "recognised": Meaning("share of those frames below the recogniser's threshold", "lower"),
    "face found": Meaning("share of frames in which a face is detected there", "higher"),
    "landmark error": Meaning(
        "error as a share of the eyes' distance, where both faces are detected", "lower"
    ),
    "pose error": Meaning("error of tilt and turn in degrees, from five landmarks", "lower"),
    "mouth correlation": Meaning(
        "correlation of the mouth's opening speed with the original's", "higher"
    ),
    "detections kept": Meaning(
        "average precision of faces found, by those of the original (overlap 0.5)", "higher"
    ),
    "mesh found": Meaning("share of the original's frames with landmarks that have some", "higher"),
    "landmark correlation": Meaning(
        "of the landmarks' coordinates over time with the original's, median", "higher"
    ),
    "frontal landmark correlation": Meaning(
        "the same without the motion of the head: expression", "higher"
    ),
    **{
        f"{name} correlation": Meaning(
            f"of the {name} over time with the original's; none where that hardly moves", "higher"
        )
        for name in MOTION_SIGNALS
    },
    "skin difference": Meaning("of the skin's colour to the original's, CIELAB delta E", "lower"),
    "skin lightness difference": Meaning("drawn less original, CIELAB L", "neither"),
    "skin lightness, original": Meaning("CIELAB L: under 45 dark, over 65 light", "neither"),
    "seam": Meaning(
        "steps across the border of what was changed, by those beside it, of the original's", "one"
    ),
    "face size": Meaning("longer side of the face's box, pixels", "neither"),
    "identity flicker": Meaning(
        "change of identity from frame to frame, to the recogniser, of the original's", "one"
    ),
    "detector AUC": Meaning(
        "AUC of the given detector of fakes; 0.5: it cannot separate output and original", "neither"
    ),
    "interior PSNR": Meaning("similarity to the real face in dB: a proxy of leaks", "lower"),
    "interior SSIM": Meaning("similarity to the real face: a proxy of leaks", "lower"),
    "interior MS-SSIM": Meaning(
        "similarity to the real face at three scales: a proxy of leaks", "lower"
    ),
    "interior perceptual distance": Meaning(
        "distance to the real face: a proxy of leaks", "higher"
    ),
}
