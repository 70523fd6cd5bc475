"""Anonymize a video in Python: plan, look at the plan, draw.

Run it with: python -m examples.anonymize_in_python IN.mp4 OUT.mp4
"""

import sys
from pathlib import Path

from dp3_lightning.anonymize import Outcome, Settings, anonymize_video, plan_video
from dp3_lightning.faces import CenterFace
from dp3_lightning.structures import FaceDetector


def anonymize(
    source: str | Path,
    output: str | Path,
    generator: str = "face-prior",
    detector: FaceDetector | None = None,
    settings: Settings | None = None,
) -> Outcome:
    """Anonymize one video, and print what was planned and what was done."""
    detector = detector or CenterFace(runtime="auto")
    plan = plan_video(source, detector)
    for track in plan.tracks:
        # Here you may change `track.person`, or set `track.action = "blur"` with a `reason`.
        print(f"{track.person}: frames {track.start} to {track.stop - 1}, {track.action}")
    outcome = anonymize_video(
        source, output, generator, settings=settings, detector=detector, plan=plan
    )
    print(f"{outcome.n_drawn} faces drawn, {len(outcome.failures)} blurred after a failure.")
    if not outcome.safe:
        print("Faces may be left: do not publish this file. The manifest says in which frames.")
    return outcome


if __name__ == "__main__":
    sys.exit(anonymize(sys.argv[1], sys.argv[2]).exit_code)
