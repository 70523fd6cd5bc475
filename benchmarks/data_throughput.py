"""Clips per second of the data module against PyAV alone.

Question: what does everything between the decoder and the batch cost (frame index, exact seeks,
accurate colours, crop, normalisation, masks, collation, flow, the way from worker to trainer)?

Method: in every round each alternative delivers the same clips in the same order. Raw decoding
seeks to the keyframe, decodes forward and converts to RGB with ``to_ndarray(format="rgb24")``; a
second baseline converts as the package's reader does. Both keep the file open and seek exactly
where the reader does, with one decoder thread, as the data module uses; a third lets FFmpeg
choose its threads. Face boxes are cached beforehand. "random" is the training loader's order: most
of the time goes into frames before the clip, for everybody. "in order" (prediction loader) decodes
no frame in vain and so shows the overhead most clearly.

Target: the training loader without flow reaches 0.8 of raw decoding (plain, one thread).

    python -m benchmarks.data_throughput [--quick]
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
from torch.utils.data import DataLoader

from benchmarks.common import RESULTS, Row, in_turns, markdown_table, metadata, summary, write_results
from benchmarks.raw_decoding import RawDecoder
from dp3_lightning.assets import asset_path
from dp3_lightning.data import VideoClipDataModule, synthetic_clip
from dp3_lightning.data.clip_index import ClipEntry
from dp3_lightning.data.sampling import ClipSampler
from dp3_lightning.faces.detector import CenterFace
from dp3_lightning.structures import Detection, FaceDetector, UInt8Array
from dp3_lightning.video import VideoReader, write_video

TARGET = 0.8
BASELINE = "raw PyAV"
FACE_SIDE, SCENE = 360, 48  # pixels; frames between two keyframes
HD = (720, 1280)


class ConstantDetector:
    """Answers with one box for every frame.

    Args:
        box: ``(x0, y0, x1, y1)`` in pixels.
    """

    def __init__(self, box: tuple[float, float, float, float]) -> None:
        self.box = box
        self.name = f"constant-{box}"

    def __call__(self, frames: list[UInt8Array]) -> list[list[Detection]]:
        """Return the box as often as there are frames."""
        return [[Detection(self.box, 0.9)] for _ in frames]


def synthetic_frames(n_frames: int) -> Iterator[UInt8Array]:
    """A small talking head over a panning texture, which changes every SCENE frames."""
    corner = ((HD[0] - FACE_SIDE) // 2, (HD[1] - FACE_SIDE) // 2)
    place = tuple(slice(c, c + FACE_SIDE) for c in corner)
    for scene, first in enumerate(range(0, n_frames, SCENE)):
        rng = np.random.default_rng(scene)
        coarse = rng.integers(0, 256, (HD[0] // 8, HD[1] // 8, 3), dtype=np.uint8)
        texture = coarse.repeat(8, axis=0).repeat(8, axis=1)
        count = min(SCENE, n_frames - first)
        faces = synthetic_clip(n_frames=count, size=(FACE_SIDE, FACE_SIDE), seed=scene).frames
        for number, face in enumerate(faces):
            frame = np.roll(texture, (number, 2 * number), axis=(0, 1))
            frame[place] = face
            yield frame


@dataclass(frozen=True)
class Case:
    """One video with what is asked of it."""

    name: str
    path: Path
    detector: FaceDetector
    n_frames: int
    cache: Path


def make_cases(folder: Path, quick: bool) -> list[Case]:
    """A real clip of 640x360 and a synthetic one of 1280x720."""
    name, n_frames = ("smile", 48) if quick else ("actress", 4 * SCENE)
    real = asset_path(name)
    written = write_video(folder / "synthetic.mp4", synthetic_frames(n_frames), 25)
    middle = np.array([HD[1] / 2, HD[0] / 2] * 2)
    half = 0.3 * FACE_SIDE
    box = middle + np.array([-half, -half, half, half])
    constant = ConstantDetector((float(box[0]), float(box[1]), float(box[2]), float(box[3])))
    return [
        Case(f"{name}, 640x360", real, CenterFace(), n_frames, folder),
        Case("synthetic, 1280x720", written, constant, n_frames, folder),
    ]


def data_module(case: Case, options: argparse.Namespace, flow: bool, workers: int) -> VideoClipDataModule:
    with VideoReader(case.path) as reader:
        stride = max(options.clip_length, len(reader) * options.clip_length // case.n_frames)
    module = VideoClipDataModule(
        str(case.path), clip_length=options.clip_length, stride=stride,
        image_size=options.image_size, batch_size=options.batch_size, num_workers=workers,
        flow=flow, detector=case.detector, split_by="time", val_fraction=0.0,
        cache_dir=str(case.cache),
    )  # fmt: skip
    module.prepare_data()
    module.setup()
    return module


def set_round(sampler: ClipSampler, number: int) -> None:
    """Let a sampler go to the start of epoch ``number``; every round has an order of its own."""
    sampler.batches_seen = number * sampler.n_batches


def load(loader: DataLoader[Any], number: int) -> None:
    if isinstance(loader.sampler, ClipSampler):
        set_round(loader.sampler, number)
    for batch in loader:
        del batch


def decode(decoder: RawDecoder, entries: list[ClipEntry], length: int, sampler: ClipSampler | None, number: int) -> None:
    chosen = list(range(len(entries)))
    if sampler is not None:
        set_round(sampler, number)
        chosen = [sample for sample, _ in sampler]
    for index in chosen:
        decoder.clip(entries[index].start, length)


def measure(case: Case, options: argparse.Namespace, ordered: bool) -> list[Row]:
    """Time all alternatives on one video in one order."""
    flows = (False,) if ordered else (False, True)
    ours: dict[str, Callable[[int], None]] = {}
    for flow, workers in ((f, w) for f in flows for w in (0, 1)):
        module = data_module(case, options, flow, workers)
        loader = module.predict_dataloader() if ordered else module.train_dataloader()
        ours[f"loader, flow {'on' if flow else 'off'}, {workers} workers"] = partial(load, loader)
    entries = module.clips["predict" if ordered else "train"].entries
    sampler = None if ordered else ClipSampler(module.clips["train"], options.batch_size)
    n_clips = len(entries) if sampler is None else len(sampler)
    decoders = {
        BASELINE: RawDecoder(case.path),
        "raw PyAV, accurate colours": RawDecoder(case.path, accurate=True),
        "raw PyAV, FFmpeg's choice of threads": RawDecoder(case.path, threads=0),
    }
    raw = {k: partial(decode, d, entries, options.clip_length, sampler) for k, d in decoders.items()}
    seconds = in_turns({**raw, **ours}, options.repeats)
    for decoder in decoders.values():
        decoder.close()
    return rows_of(case.name, "in order" if ordered else "random", n_clips, seconds)


def rows_of(clip: str, order: str, n_clips: int, seconds: Mapping[str, list[float]]) -> list[Row]:
    rows = []
    for name, values in seconds.items():
        ratios = [raw / own for raw, own in zip(seconds[BASELINE], values, strict=True)]
        speed = summary([n_clips / value for value in values])
        rows.append({"clip": clip, "order": order, "alternative": name,
                     "clips/s": speed, "of raw PyAV": summary(ratios)})  # fmt: skip
    return rows


def verdicts(rows: list[Row]) -> list[Row]:
    """Compare with the target, row by row."""
    judged = [r for r in rows if r["order"] == "random" and "flow off" in r["alternative"]]
    return [
        {"target": f"{r['clip']}: {r['alternative']}, of raw PyAV at least {TARGET}",
         "measured": r["of raw PyAV"]["median"],
         "met": r["of raw PyAV"]["median"] >= TARGET}
        for r in judged
    ]  # fmt: skip


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="smoke run: few clips and rounds")
    parser.add_argument("--output", type=Path, default=None, help="JSON file to write")
    parser.add_argument("--repeats", type=int, default=None, help="rounds; default 15, quick 2")
    parser.add_argument("--clip-length", type=int, default=8)
    parser.add_argument("--image-size", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=2)
    options = parser.parse_args()
    options.repeats = options.repeats or (2 if options.quick else 15)
    options.output = options.output or RESULTS / "data_throughput--cpu.json"
    return options


def main() -> None:
    options = parse()
    # One thread here as in the workers; and a pool of OpenCV does not survive being forked.
    cv2.setNumThreads(1)
    description = metadata("cpu")
    warnings.filterwarnings("ignore", message=".*worker.*")
    with tempfile.TemporaryDirectory() as folder:
        cases = make_cases(Path(folder), options.quick)
        rows = [r for c in cases for ordered in (False, True) for r in measure(c, options, ordered)]
    results = {"rows": rows, "targets": verdicts(rows)}
    settings = {k: v for k, v in vars(options).items() if k != "output"} | {"warmup": 1, "decoder_threads": 1}
    content = {"metadata": description, "settings": settings, "results": results}
    print(markdown_table(rows), markdown_table(results["targets"]), sep="\n\n")
    write_results(options.output, cast(dict[str, Any], content))


if __name__ == "__main__":
    main()
