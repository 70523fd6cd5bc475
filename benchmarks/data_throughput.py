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
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, cast

import cv2
from torch.utils.data import DataLoader

from benchmarks.clips import Case, make_cases
from benchmarks.common import (
    RESULTS,
    Row,
    add_draft,
    in_turns,
    markdown_table,
    metadata,
    summary,
    write_results,
)
from benchmarks.raw_decoding import RawDecoder
from dp3_lightning.data import VideoClipDataModule
from dp3_lightning.data.clip_index import ClipEntry
from dp3_lightning.data.sampling import ClipSampler
from dp3_lightning.video import VideoReader

TARGET = 0.8
BASELINE = "raw PyAV"


def data_module(
    case: Case, options: argparse.Namespace, flow: bool, workers: int
) -> VideoClipDataModule:
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


def decode(
    decoder: RawDecoder,
    entries: list[ClipEntry],
    length: int,
    sampler: ClipSampler | None,
    number: int,
) -> None:
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
    raw = {
        k: partial(decode, d, entries, options.clip_length, sampler) for k, d in decoders.items()
    }
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
    add_draft(parser)
    options = parser.parse_args()
    options.repeats = options.repeats or (2 if options.quick else 15)
    options.output = options.output or RESULTS / "data_throughput--cpu.json"
    return options


def main() -> None:
    options = parse()
    # One thread here as in the workers; and a pool of OpenCV does not survive being forked.
    cv2.setNumThreads(1)
    description = metadata("cpu", options.draft)
    warnings.filterwarnings("ignore", message=".*worker.*")
    with tempfile.TemporaryDirectory() as folder:
        cases = make_cases(Path(folder), options.quick)
        rows = [r for c in cases for ordered in (False, True) for r in measure(c, options, ordered)]
    results = {"rows": rows, "targets": verdicts(rows)}
    settings = {k: v for k, v in vars(options).items() if k != "output"} | {
        "warmup": 1,
        "decoder_threads": 1,
    }
    content = {"metadata": description, "settings": settings, "results": results}
    print(markdown_table(rows), markdown_table(results["targets"]), sep="\n\n")
    write_results(options.output, cast(dict[str, Any], content))


if __name__ == "__main__":
    main()
