"""Painted faces, detectors that find them, generators that fail: what the tests here share."""

from __future__ import annotations

import hashlib
import os
import signal
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dp3_lightning.anonymize import (
    CheckOptions,
    Outcome,
    OutputOptions,
    PersonOptions,
    Plan,
    PlannedTrack,
    PlanOptions,
    RenderOptions,
    Settings,
    anonymize_video,
)
from dp3_lightning.anonymize.manifest import is_done, read_manifest
from dp3_lightning.generators import GeneratorAdapter, SolidGenerator, StyleGANUnetAdapter
from dp3_lightning.structures import Detection, UInt8Array
from dp3_lightning.video import VideoReader, write_video

Box = tuple[float, float, float, float]
HEIGHT, WIDTH = 64, 96
SIDE = 20.0
_CELL = 2  # pixels of the checks; a multiple of what 4:2:0 keeps
_CORNER = 8  # pixels; its grey tells the number of the frame, also after lossy encoding


def background(height: int = HEIGHT, width: int = WIDTH, seed: int = 0) -> UInt8Array:
    """Smooth greyish texture: something for the flow to follow, no painted colour."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(70, 190, (height // 8 + 2, width // 8 + 2, 3)).astype(np.float32)
    grey = 0.7 * coarse.mean(axis=2, keepdims=True) + 0.3 * coarse
    smooth = cv2.resize(grey, (width, height), interpolation=cv2.INTER_LINEAR)
    result: UInt8Array = smooth.astype(np.uint8)
    return result


def paint(frame: UInt8Array, box: Sequence[float], swap: bool = False) -> None:
    """Paint a face: checks of magenta and green, whose means are grey.

    Every pixel that the box touches is painted, so that a blur leaves neither colour.
    """
    height, width = frame.shape[:2]
    x0, y0 = max(int(np.floor(box[0])), 0), max(int(np.floor(box[1])), 0)
    x1, y1 = min(int(np.ceil(box[2])), width), min(int(np.ceil(box[3])), height)
    ys, xs = np.mgrid[y0:y1, x0:x1]
    odd = ((ys // _CELL + xs // _CELL) % 2 == 1) ^ swap
    frame[y0:y1, x0:x1] = np.where(odd[..., None], (255, 0, 255), (0, 255, 0))


def painted_pixels(frame: UInt8Array, tolerance: int = 55) -> npt.NDArray[np.bool_]:
    """Where a frame still shows a painted face."""
    levels = frame.astype(np.int16)
    found = np.zeros(frame.shape[:2], bool)
    for color in ((255, 0, 255), (0, 255, 0)):
        found |= (np.abs(levels - np.array(color)) <= tolerance).all(axis=2)
    return found


def square(x: float, y: float = 22.0, side: float = SIDE) -> Box:
    return x, y, x + side, y + side


def moving(n_frames: int, start: float = 12.0, speed: float = 0.9) -> list[list[Box]]:
    return [[square(start + speed * i)] for i in range(n_frames)]


def draw_frames(
    faces: Sequence[Sequence[Box]], height: int = HEIGHT, width: int = WIDTH, swap: bool = False
) -> list[UInt8Array]:
    """Frames with painted faces; the corner tells the number of the frame."""
    frames = []
    for index, boxes in enumerate(faces):
        frame = background(height, width)
        frame[:_CORNER, :_CORNER] = 5 * index
        for box in boxes:
            paint(frame, box, swap)
        frames.append(frame)
    return frames


def number_of(frame: UInt8Array) -> int:
    """Number of the frame by its corner; of decoded or rendered frames far from a face."""
    return round(float(frame[1 : _CORNER - 1, 1 : _CORNER - 1].mean()) / 5)


def write_clip(path: Path, faces: Sequence[Sequence[Box]], **options: Any) -> Path:
    """A lossless video of painted faces, so that detectors see what was painted."""
    height, width = options.pop("size", (HEIGHT, WIDTH))
    frames = draw_frames(faces, height, width)
    return write_video(path, frames, 10, **({"lossless": True} | options))


def plan_for(faces: Mapping[str, Sequence[Box]], n_frames: int, **values: Any) -> Plan:
    """A plan in which every person is detected in every frame."""
    tracks = [
        PlannedTrack(person, 0, list(boxes), ["detected"] * len(boxes))
        for person, boxes in faces.items()
    ]
    return Plan("clip.mp4", "", n_frames, values.pop("size", (HEIGHT, WIDTH)), tracks, **values)


class SquareDetector:
    """Finds painted faces by their colours."""

    def __init__(self, name: str = "squares") -> None:
        self.name = name

    def __call__(self, frames: list[UInt8Array]) -> list[list[Detection]]:
        return [self.find(frame) for frame in frames]

    def find(self, frame: UInt8Array) -> list[Detection]:
        mask = painted_pixels(frame).astype(np.uint8)
        joined = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
        count, _, stats, _ = cv2.connectedComponentsWithStats(joined, connectivity=8)
        return [
            Detection((float(x), float(y), float(x + w), float(y + h)), 0.9)
            for x, y, w, h, area in stats[1:count]
            if area >= 9
        ]


class Failing(SquareDetector):
    """Fails in frames of some numbers, in pass 1, pass 2 or both.

    Args:
        numbers: frames in which it fails; None: all.
        painted: fail in frames that show a face (pass 1) or in those that do not (pass 2); None:
            in both.
    """

    def __init__(self, numbers: Sequence[int] | None = None, painted: bool | None = None) -> None:
        super().__init__(f"failing-{numbers}-{painted}")
        self.numbers, self.painted = numbers, painted

    def find(self, frame: UInt8Array) -> list[Detection]:
        found = super().find(frame)
        due = self.numbers is None or number_of(frame) in self.numbers
        if due and self.painted in (None, bool(found)):
            raise RuntimeError("the detector is broken")
        return found


class FailsOnTheRight(SquareDetector):
    """Fails in every frame with a painted face in the right half: in all of some videos."""

    def find(self, frame: UInt8Array) -> list[Detection]:
        found = super().find(frame)
        if any(face.box[0] > WIDTH / 2 for face in found):
            raise RuntimeError("the detector is broken")
        return found


class NeverSatisfied(SquareDetector):
    """Finds painted faces; in frames without one, a face somewhere else at every call."""

    def __init__(self) -> None:
        super().__init__("never-satisfied")
        self.looks: Counter[int] = Counter()

    def find(self, frame: UInt8Array) -> list[Detection]:
        found = super().find(frame)
        if not found:
            self.looks[number_of(frame)] += 1
            x = float(24 * (self.looks[number_of(frame)] % 4))
            found = [Detection((x, 44.0, x + 8, 52.0), 0.9)]
        return found


class LogsItself(SquareDetector):
    """Writes process and content of every frame with a face to the file ``$DP3_TEST_LOG``."""

    def find(self, frame: UInt8Array) -> list[Detection]:
        found = super().find(frame)
        if found:
            content = hashlib.sha256(frame.tobytes()).hexdigest()
            with Path(os.environ["DP3_TEST_LOG"]).open("a") as stream:
                stream.write(f"{os.getpid()} {content}\n")
        return found


class KillsIn(SquareDetector):
    """Kills its own process when it sees a frame."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def find(self, frame: UInt8Array) -> list[Detection]:
        if number_of(frame) == self.number:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().find(frame)


class Styled(GeneratorAdapter):
    """Fills with the colour that the style says, and counts.

    Args:
        kill_after: number of faces after which the process kills itself; 0: never.
    """

    def __init__(self, kill_after: int = 0) -> None:
        super().__init__()
        self.image_size, self.z_dim = (32, 32), 3
        self.kill_after, self.n_drawn = kill_after, 0

    def draw(
        self,
        condition: Tensor,
        keep_mask: Tensor,
        w: Tensor | None,
        conditions: Mapping[str, Tensor],
    ) -> Tensor:
        assert w is not None
        self.n_drawn += len(condition)
        if self.kill_after and self.n_drawn > self.kill_after:
            os.kill(os.getpid(), signal.SIGKILL)
        # Never as bright as the painted colours.
        return (0.6 * torch.tanh(w))[:, :, None, None].expand_as(condition).clone()


class Faulty(SolidGenerator):
    """Fails for some of the faces that it is asked for.

    Args:
        is_bad: number of the call and of the face within it to whether it fails.
        how: ``raise``, ``nan`` or ``inf``.
    """

    def __init__(self, is_bad: Callable[[int, int], bool], how: str = "raise") -> None:
        super().__init__((32, 32), value=0.1)
        self.is_bad, self.how, self.calls = is_bad, how, 0

    def draw(
        self,
        condition: Tensor,
        keep_mask: Tensor,
        w: Tensor | None,
        conditions: Mapping[str, Tensor],
    ) -> Tensor:
        drawn = super().draw(condition, keep_mask, w, conditions)
        bad = [i for i in range(len(drawn)) if self.is_bad(self.calls, i)]
        self.calls += 1
        if bad and self.how == "raise":
            raise RuntimeError("the generator is broken")
        for i in bad:
            drawn[i, 1, 14:18, 14:18] = float(self.how)
        return drawn


def tiny32() -> StyleGANUnetAdapter:
    """A network with random weights, which with this seed draw no painted colour."""
    state = torch.get_rng_state()
    torch.manual_seed(3)
    adapter = StyleGANUnetAdapter("tiny32").eval()
    torch.set_rng_state(state)
    return adapter


def settings(**options: Any) -> Settings:
    """Settings by flat names; without recogniser and detector, whose models are no part of this."""
    values = {"identity_check": "off", "check_detector": "same"} | options
    groups = {
        "plan": PlanOptions,
        "render": RenderOptions,
        "people": PersonOptions,
        "output": OutputOptions,
        "check": CheckOptions,
    }
    built = {
        name: group(**{k: values.pop(k) for k in group.__dataclass_fields__ if k in values})
        for name, group in groups.items()
    }
    assert not values, f"unknown options {values}"
    return Settings(**built)


def run(
    source: Path,
    output: Path,
    generator: str | GeneratorAdapter = "blur",
    detector: SquareDetector | None = None,
    **options: Any,
) -> Outcome:
    """Anonymize with the detector of painted faces; its answers are cached beside the output."""
    cache = options.pop("cache", output.parent / "cache")
    plan = options.pop("plan", None)
    return anonymize_video(
        source,
        output,
        generator,
        settings=settings(**options),
        detector=detector or SquareDetector(),
        plan=plan,
        cache=cache,
    )


def decoded(path: Path) -> list[UInt8Array]:
    with VideoReader(path) as reader:
        return list(reader)


def with_sound(video: Path, target: Path, seconds: float, metadata: bool = False) -> Path:
    """The pictures of a video with a tone; optionally with a title and a place."""
    with av.open(str(video)) as old, av.open(str(target), "w") as new:
        if metadata:
            new.metadata.update({"title": "SECRETTITLE", "location": "+48.1173+011.5167/"})
        pictures = new.add_stream_from_template(old.streams.video[0])
        tone = new.add_stream("aac", rate=16000, layout="mono")
        if metadata:
            tone.metadata["title"] = "SECRETVOICE"
        for packet in old.demux(video=0):
            if packet.size:
                packet.stream = pictures
                new.mux(packet)
        for start in range(0, int(seconds * 16000), 1024):
            samples = 0.3 * np.sin(np.arange(start, start + 1024) * 0.17)
            frame = av.AudioFrame.from_ndarray(samples.astype(np.float32)[None], "fltp", "mono")
            frame.sample_rate, frame.pts = 16000, start
            new.mux(tone.encode(frame))
        new.mux(tone.encode(None))
    return target


def leftovers(folder: Path) -> list[str]:
    """Names that a finished run must not leave beside its output, hidden ones included."""
    return sorted(
        p.name
        for p in folder.iterdir()
        if "partial" in p.name or p.name.endswith((".tmp", ".dp3work"))
    )


def done(source: Path, output: Path) -> bool:
    """Whether the record beside an output says that it is this source's, whole and safe."""
    record = read_manifest(output)
    return record is not None and is_done(source, output, record["generator"], record["settings"])
