"""A tour of the parts, cell by cell, on a drawn clip whose motion is known exactly.

Open it in an editor that runs `# %%` cells, or run it with: python -m examples.tour
It needs no download and writes to a temporary folder.
"""

# %% A clip of a talking head, with exact boxes and optical flow.
import json
import tempfile
from pathlib import Path

import numpy as np
import torch

from dp3_lightning.anonymize import CheckOptions, Settings, anonymize_video
from dp3_lightning.data import synthetic_clip
from dp3_lightning.faces import hole_mask
from dp3_lightning.generators import PixelateGenerator, SolidGenerator, composite
from dp3_lightning.losses import flow_consistency, total_variation
from dp3_lightning.metrics import sharpness
from dp3_lightning.optical_flow import DISFlow
from dp3_lightning.regions import inner_ring, outer_ring
from dp3_lightning.structures import Detection, UInt8Array
from dp3_lightning.video import VideoReader, write_video

SIZE = (96, 128)  # height, width in pixels
scene = synthetic_clip(identity=3, n_frames=8, size=SIZE)
print("frames", scene.frames.shape, scene.frames.dtype)

# %% Clips are (B, T, 3, H, W) in [-1, 1]; the keep mask is 0 in the hole.
clip = torch.from_numpy(scene.frames).permute(0, 3, 1, 2)[None].float() / 127.5 - 1
masks = np.stack([hole_mask(box, SIZE) for box in scene.boxes])
keep_mask = torch.from_numpy(masks)[None, :, None]
print(f"the hole is {float((1 - keep_mask).mean()):.1%} of the picture")
print(f"inner ring {float(inner_ring(keep_mask).mean()):.1%}, ", end="")
print(f"outer ring {float(outer_ring(keep_mask).mean()):.1%}")

# %% Optical flow: how far is the estimate from the truth?
estimate = DISFlow()(clip[0, 1:], clip[0, :-1])
error = (estimate - torch.from_numpy(scene.flow_to_previous)).square().sum(1).sqrt()
flow_error = float(error[torch.from_numpy(scene.visible_in_previous)].mean())
print(f"mean endpoint error {flow_error:.2f} px")

# %% A generator fills the hole; the composite keeps every real pixel outside.
drawn = {
    "real": clip,
    "solid": composite(clip, keep_mask, SolidGenerator(SIZE)(clip * keep_mask, keep_mask)),
    "pixelate": composite(
        clip,
        keep_mask,
        PixelateGenerator(SIZE)(clip * keep_mask, keep_mask, conditions={"clip": clip}),
    ),
}

# %% Losses and metrics are functions of tensors. A constant face is steady: read all columns.
flow = torch.from_numpy(scene.flow_to_previous)[None]
visible = torch.from_numpy(scene.visible_in_previous)[None, :, None]
weight = (1 - keep_mask[:, 1:]) * visible
for name, fake in drawn.items():
    variation = float(total_variation(fake, keep_mask))
    unsteady = float(flow_consistency(fake[:, 1:], fake[:, :-1], flow, weight))
    sharp = sharpness(fake[0], 1 - keep_mask[0])
    print(f"{name:9} total variation {variation:.3f}  flow {unsteady:.4f}  sharpness {sharp:.5f}")

# %% A face detector is a callable with a name; this one knows where the face was drawn.
KNOWN = {frame.tobytes(): box for frame, box in zip(scene.frames, scene.boxes, strict=True)}


class DrawnFaces:
    """Answer with the boxes of the drawn clip."""

    name = "drawn-faces"

    def __call__(self, frames: list[UInt8Array]) -> list[list[Detection]]:
        """Detect: one list of faces per frame."""
        boxes = [KNOWN.get(np.ascontiguousarray(frame).tobytes()) for frame in frames]
        return [[] if box is None else [Detection(tuple(box), 0.9)] for box in boxes]


# %% Anonymize a video file with it, and read the manifest.
folder = Path(tempfile.mkdtemp())
source = write_video(folder / "real.mkv", list(scene.frames), 25, lossless=True)
settings = Settings(check=CheckOptions(identity_check="off"))  # pixelated faces are not compared
outcome = anonymize_video(
    source,
    folder / "anonymized.mp4",
    "pixelate",
    settings=settings,
    detector=DrawnFaces(),
    cache=folder / "cache",
)
manifest = json.loads((folder / "anonymized.mp4.dp3.json").read_text())
print("safe:", outcome.safe, "tracks:", len(manifest["tracks"]), "in", folder)
with VideoReader(folder / "anonymized.mp4") as reader:
    anonymized = list(reader)
print(len(anonymized), "frames written")
