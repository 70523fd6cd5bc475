"""What the figures of a face mean, and in which direction each is better."""

from __future__ import annotations

from typing import Literal, NamedTuple

from dp3_lightning.metrics import MOTION_SIGNALS

Better = Literal["lower", "higher", "one", "neither"]  # one: as the original, 1


class Meaning(NamedTuple):
    """What a figure says.

    Attributes:
        text: in a sentence.
        better: direction in which an anonymized video is better; of leak proxies the private one.
    """

    text: str
    better: Better

    @property
    def direction(self) -> str:
        """What is better, in words; empty where neither is."""
        words = {"lower": "lower is better", "higher": "higher is better", "one": "best at 1"}
        return words.get(self.better, "")


MEANING = {
    "excess warping error": Meaning("of the face, beyond the original's, x1e-4", "lower"),
    "excess warping error, ring": Meaning("the same 16 px around the face", "lower"),
    "excess warping error, view": Meaning("of the face and what surrounds it", "lower"),
    "tOF": Meaning("difference of motion to the original, pixels", "lower"),
    "tLP": Meaning("difference of perceptual change to the original, x1e-2", "lower"),
    "flicker": Meaning("change of the face's mean colour per frame, of the original's", "one"),
    "TL-ID": Meaning(
        "neighbours of up to 24 spread frames are one person, of the original's", "higher"
    ),
    "TG-ID": Meaning("all of those frames are one person, of the original's", "higher"),
    "sharpness": Meaning("gradient energy of the face, of the original's", "one"),
    "high frequencies": Meaning("share of contrast in details, of the original's", "one"),
    "total variation": Meaning("of the face, of the original's", "one"),
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
        "of drawn to real face, mean over up to 24 spread frames", "higher"
    ),
    "identity distance, least": Meaning("the same, least of those frames", "higher"),
    "recognised": Meaning("share of those frames below the recogniser's threshold", "lower"),
    "face found": Meaning("share of frames in which a face is found there", "higher"),
    "landmark error": Meaning("of the eyes' distance, where both faces are found", "lower"),
    "pose error": Meaning("of tilt and turn, degrees, from five landmarks", "lower"),
    "mouth correlation": Meaning("of the mouth's opening speed with the original's", "higher"),
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
        "of the given detector of fakes; 0.5: cannot tell output from original", "neither"
    ),
    "interior PSNR": Meaning("to the real face, dB: a leak proxy", "lower"),
    "interior SSIM": Meaning("to the real face: a leak proxy", "lower"),
    "interior MS-SSIM": Meaning("of three scales, to the real face: a leak proxy", "lower"),
    "interior perceptual distance": Meaning("to the real face: a leak proxy", "higher"),
}
