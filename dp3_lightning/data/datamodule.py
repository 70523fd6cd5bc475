"""Turn videos into batches of face clips: the Lightning data module."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import torch
from pytorch_lightning import LightningDataModule
from pytorch_lightning.utilities import rank_zero_info
from torch.utils.data import DataLoader

from dp3_lightning.assets import asset_path
from dp3_lightning.checks import check_at_least, check_between, check_choice
from dp3_lightning.data.clip_index import ClipEntry, clips_of_video, seconds_to_frames
from dp3_lightning.data.clips import HoleJitter, VideoClips
from dp3_lightning.data.layouts import LAYOUT_NAMES
from dp3_lightning.data.layouts.boxes import in_pixels, shows
from dp3_lightning.data.leaks import part_key, refuse_leak
from dp3_lightning.data.sampling import ClipSampler, EvaluationSampler, ResumableDataLoader
from dp3_lightning.data.sources import VideoSource, asset_names, find_videos
from dp3_lightning.data.splits import SPLITS, assign_groups, fixed_splits, time_span
from dp3_lightning.data.workers import limit_worker_threads
from dp3_lightning.faces.analysis import VideoAnalysis, cached_analysis, longest_face_run
from dp3_lightning.faces.crop import ExpansionRule
from dp3_lightning.faces.detector import CenterFace
from dp3_lightning.faces.mesh import FaceMesh
from dp3_lightning.optical_flow import DISFlow, FlowEstimator
from dp3_lightning.structures import FaceDetector
from dp3_lightning.video import UnreadableVideoError, VideoReader

_STAGE_SPLITS: dict[str | None, tuple[str, ...]] = {
    None: (*SPLITS, "predict"),
    "fit": ("train", "val"),
    "validate": ("val",),
    "test": ("test",),
    "predict": ("predict",),
}


class VideoClipDataModule(LightningDataModule):
    """Load clips of consecutive frames around faces from ordinary videos.

    Args:
        source: a video, a folder, a ``.jsonl`` manifest, the name of a sample asset, or a list of
            these; see :func:`dp3_lightning.data.sources.find_videos`.
        clip_length: consecutive frames per clip; 1 for stills.
        stride: frames from the start of one training clip to the next of the same face. Held-out
            clips do not overlap.
        image_size: side of the square crops in pixels, or ``[height, width]``.
        batch_size: clips per batch and process.
        num_workers: loader processes; 0 loads in the main process.
        crop_rule: how a face box grows to the crop: ``fdf128`` or ``fdf256``, as the generator
            expects.
        flip: probability of mirroring a training clip.
        hole_jitter: ``detected``, ``measured`` or ``none``, see :class:`VideoClips`.
        window_jitter: jitter of the training crop window, as a fraction of its side.
        flow: measure optical flow in the workers: true for DIS, false for none, or an estimator.
        landmarks: find the faces' landmarks in the workers, which turn the faces that the face
            prior draws; DeepPrivacy2's generators take none.
        detector: face detector; default :class:`CenterFace`.
        split_by: ``group`` holds out people or sources; ``time`` holds out the end of every video
            (the same people train and validate: for fine-tuning on one video).
        val_fraction: share held out for validation.
        test_fraction: share held out for the test.
        min_face_size: shortest side of a usable face, in pixels of the video.
        max_eval_clips: largest number of clips in validation and in the test, spread evenly; None
            for all.
        cache_dir: where face boxes are cached; default: the user's cache folder.
        seed: of order, split, flips and jitter.
        layout: how folders are laid out, such as ``voxceleb2`` or ``identity``; ``auto`` looks.

    Raises:
        ValueError: an argument out of range, named with its value.
    """

    def __init__(
        self,
        source: str | list[str],
        clip_length: int = 8,
        stride: int = 1,
        image_size: int | tuple[int, int] = 128,
        batch_size: int = 4,
        num_workers: int = 0,
        crop_rule: ExpansionRule = "fdf128",
        flip: float = 0.5,
        hole_jitter: HoleJitter = "detected",
        window_jitter: float = 0.0,
        flow: FlowEstimator | bool = True,
        detector: FaceDetector | None = None,
        split_by: str = "group",
        val_fraction: float = 0.1,
        test_fraction: float = 0.0,
        min_face_size: float = 16.0,
        max_eval_clips: int | None = None,
        cache_dir: str | None = None,
        seed: int = 0,
        landmarks: bool = False,
        layout: str = "auto",
    ) -> None:
        super().__init__()
        check_at_least(1, clip_length=clip_length, stride=stride, batch_size=batch_size)
        check_at_least(0, num_workers=num_workers, window_jitter=window_jitter)
        check_choice(("group", "time"), split_by=split_by)
        check_choice(LAYOUT_NAMES, layout=layout)
        check_choice(get_args(HoleJitter), hole_jitter=hole_jitter)
        check_choice(get_args(ExpansionRule), crop_rule=crop_rule)
        check_between(0, 1, flip=flip, val_fraction=val_fraction, test_fraction=test_fraction)
        if val_fraction + test_fraction >= 1:
            raise ValueError(
                "Expected `val_fraction` and `test_fraction` with a sum below 1, got "
                f"{val_fraction} and {test_fraction}: nothing is left to train on."
            )
        size = (image_size, image_size) if isinstance(image_size, int) else image_size
        if len(size) != 2 or min(size) < 1:
            raise ValueError(f"Expected `image_size` >= 1 pixel per side, got {image_size}.")
        if max_eval_clips is not None:
            check_at_least(1, max_eval_clips=max_eval_clips)
        self.source, self.layout = source, layout
        self.clip_length, self.stride = clip_length, stride
        self.image_size = (int(size[0]), int(size[1]))
        self.batch_size, self.num_workers = batch_size, num_workers
        self.crop_rule: ExpansionRule = crop_rule
        self.flip, self.window_jitter = flip, window_jitter
        self.hole_jitter: HoleJitter = hole_jitter
        self.flow = (DISFlow() if flow else None) if isinstance(flow, bool) else flow
        # OpenVINO hangs in loader processes that are forked from one that has used it.
        self.mesh = FaceMesh(runtime="opencv") if landmarks else None
        self.detector: FaceDetector = CenterFace() if detector is None else detector
        self.split_by = split_by
        self.fractions = {"val": val_fraction, "test": test_fraction}
        self.min_face_size, self.max_eval_clips = min_face_size, max_eval_clips
        self.cache_dir = None if cache_dir is None else Path(cache_dir)
        self.seed = seed
        self.clips: dict[str, VideoClips] = {}
        self._found: tuple[list[VideoSource], list[VideoReader], list[VideoAnalysis]] | None = None

    # ------------------------------------------------------------------ index

    def prepare_data(self) -> None:
        """Fetch sample clips and find the faces of all videos, once per machine."""
        for name in asset_names(self.source):
            asset_path(name)
        self._analyzed()

    def setup(self, stage: str | None = None) -> None:
        """Build the list of clips of the splits that a stage needs, from the cached analyses."""
        wanted = [split for split in _STAGE_SPLITS[stage] if split not in self.clips]
        if not wanted:
            return
        videos, readers, analyses = self._analyzed()
        self._check_faces(analyses)
        assigned = {} if wanted == ["predict"] else self._assignment(videos)
        for split in wanted:
            entries = self._entries(split, assigned)
            self._check_entries(split, entries, analyses)
            training, predicting = split == "train", split == "predict"
            self.clips[split] = VideoClips(
                readers,
                entries if training or predicting else _spread(entries, self.max_eval_clips),
                self.clip_length,
                self.image_size,
                self.crop_rule,
                flip=self.flip if training else 0.0,
                hole_jitter=self.hole_jitter if training else "detected",
                window_jitter=self.window_jitter if training else 0.0,
                flow=None if predicting else self.flow,
                seed=self.seed,
                mesh=self.mesh,
            )
        counts = {split: len(self.clips[split]) for split in wanted}
        rank_zero_info(f"Clips of {self.clip_length} frames: {counts} from {len(videos)} videos.")

    def _analyzed(self) -> tuple[list[VideoSource], list[VideoReader], list[VideoAnalysis]]:
        """Return videos, readers and analyses, made once per process."""
        if self._found is None:
            videos = find_videos(self.source, self.clip_length == 1, self.layout)
            for licence in sorted({v.licence for v in videos} - {""}):
                rank_zero_info(f"Licence of the videos: {licence}.")
            self._found = self._analyze(videos)
        return self._found

    def _analyze(
        self, videos: Sequence[VideoSource]
    ) -> tuple[list[VideoSource], list[VideoReader], list[VideoAnalysis]]:
        usable, readers, analyses, problems = [], [], [], []
        for video in videos:
            try:
                reader = VideoReader(video.path, threads=1)
                analysis = cached_analysis(video.path, self.detector, self.cache_dir)
            except UnreadableVideoError as error:
                problems.append(str(error))
                continue
            usable.append(video)
            readers.append(reader)
            analyses.append(analysis)
        if not usable:
            raise ValueError(f"No readable video in {self.source!r}: " + " ".join(problems))
        for problem in problems:
            warnings.warn(f"Left out: {problem}", stacklevel=2)
        return usable, readers, analyses

    def _check_faces(self, analyses: Sequence[VideoAnalysis]) -> None:
        if not any(found for analysis in analyses for found in analysis.faces):
            raise ValueError(
                f"No face found in {len(analyses)} video(s) of {self.source!r} with "
                f"{self.detector.name}: lower the detector's `threshold`, or check `source`."
            )

    def _entries(self, split: str, assigned: dict[str, str]) -> list[ClipEntry]:
        everywhere = split == "predict"
        stride = self.stride if split == "train" else self.clip_length
        entries: list[ClipEntry] = []
        for index, (video, reader, analysis) in enumerate(zip(*self._analyzed(), strict=True)):
            if assigned and not everywhere and assigned[video.group] != split:
                continue
            span = seconds_to_frames([float(t) for t in reader.times], video.start, video.end)
            if self.split_by == "time" and not everywhere:
                part = time_span(len(span), split, self.fractions)
                span = range(span.start + part.start, span.start + part.stop)
            clips = clips_of_video(
                analysis,
                index,
                span,
                self.clip_length,
                stride,
                self.min_face_size,
                cover_end=everywhere,
            )
            box = in_pixels(video, reader.size)
            entries += [clip for clip in clips if shows(clip.boxes, box)]
        return entries

    def _assignment(self, videos: Sequence[VideoSource]) -> dict[str, str]:
        fixed = fixed_splits([(v.group, v.split) for v in videos])
        if self.split_by == "time":
            if any(v.box for v in videos):
                raise ValueError(
                    f"`split_by` is 'time', but videos of {self.source!r} have a `box`, so that "
                    "one time may be used twice: set `split_by: group`."
                )
            if fixed:
                raise ValueError(
                    f"`split_by` is 'time', but {self.source!r} fixes the `split` of "
                    f"{sorted(fixed)}: set `split_by: group`, or take `split` out of the manifest."
                )
            return {}
        free = [v.group for v in videos if v.group not in fixed]
        return assign_groups(free, self.fractions, fixed, self.seed) if free else fixed

    def _check_entries(
        self, split: str, entries: list[ClipEntry], analyses: Sequence[VideoAnalysis]
    ) -> None:
        if entries or self.fractions.get(split) == 0:
            return
        longest = longest_face_run(analyses)
        if split == "predict" or longest < self.clip_length:
            raise ValueError(
                f"No clip of {self.clip_length} frames: the longest run of frames with a face in "
                f"{self.source!r} has {longest} frames. Lower `clip_length`, or "
                f"`min_face_size` ({self.min_face_size} px)."
            )
        remedy = (
            "lower `val_fraction` and `test_fraction`"
            if split == "train"
            else f"raise `{split}_fraction`"
        )
        raise ValueError(
            f"No clip of {self.clip_length} frames with a face of {self.min_face_size} px in the "
            f"`{split}` split: {remedy}, lower `clip_length` or `min_face_size`, or add video."
        )

    # ------------------------------------------------------------------ state

    def state_dict(self) -> dict[str, Any]:
        """Return hashes of the training videos, to keep them out of later evaluations."""
        videos, _, _ = self._analyzed()
        train = self.clips.get("train")
        used = sorted({clip.video for clip in train.entries}) if train else []
        return {
            "split_by": self.split_by,
            "fractions": dict(self.fractions),
            "trained": [list(part_key(videos[index])) for index in used],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Refuse to evaluate on videos that a checkpoint was trained on.

        Raises:
            ValueError: a held-out video (or part of one) was in the training split.
        """
        before = (state_dict["split_by"], state_dict["fractions"])
        if self.split_by == "time" and before == ("time", self.fractions):
            return  # the same parts of the same videos are held out
        videos, _, _ = self._analyzed()
        held_out: dict[str, list[VideoSource]] = {
            split: [videos[i] for i in sorted({clip.video for clip in self.clips[split].entries})]
            for split in ("val", "test")
            if split in self.clips
        }
        refuse_leak(held_out, state_dict["trained"])

    # ------------------------------------------------------------------ loaders

    def _options(self) -> dict[str, Any]:
        return {
            "num_workers": self.num_workers,
            "persistent_workers": self.num_workers > 0,
            "pin_memory": torch.cuda.is_available(),
            "worker_init_fn": limit_worker_threads,
        }

    def _rank(self) -> tuple[int, int]:
        if self.trainer is None:
            return 1, 0
        return self.trainer.world_size, self.trainer.global_rank

    def train_dataloader(self) -> DataLoader[Any]:
        """Return batches of the training split in counter-based order, disjoint between ranks."""
        clips, (world, rank) = self.clips["train"], self._rank()
        sampler = ClipSampler(clips, self.batch_size, self.seed, world, rank)
        return ResumableDataLoader(
            dataset=clips,
            batch_size=self.batch_size,
            sampler=sampler,
            drop_last=True,
            **self._options(),
        )

    def _evaluation(self, split: str) -> DataLoader[Any]:
        clips, (world, rank) = self.clips[split], self._rank()
        if len(clips) < world:
            raise ValueError(
                f"{len(clips)} clips in the `{split}` split are too few for {world} processes: use "
                "fewer `trainer.devices`, a larger fraction or a smaller `clip_length`."
            )
        # Every clip once: ranks may differ in length, and the metrics are weighted by clips.
        shard = EvaluationSampler(clips, world, rank)
        return DataLoader(
            dataset=clips, batch_size=self.batch_size, sampler=shard, **self._options()
        )

    def val_dataloader(self) -> DataLoader[Any] | list[Any]:
        """Return batches of the validation split in order; none when ``val_fraction`` is 0."""
        return self._evaluation("val") if len(self.clips["val"]) else []

    def test_dataloader(self) -> DataLoader[Any]:
        """Return batches of the test split in order.

        Raises:
            ValueError: there is no test split, neither official nor by `test_fraction`.
        """
        if not self.fractions["test"] and not len(self.clips["test"]):
            raise ValueError("No test split: set `test_fraction` above 0.")
        return self._evaluation("test")

    def predict_dataloader(self) -> DataLoader[Any]:
        """Return batches of all videos, whatever their split, without overlap and without flow."""
        return self._evaluation("predict")


def _spread(entries: list[ClipEntry], limit: int | None) -> list[ClipEntry]:
    if limit is None or len(entries) <= limit:
        return entries
    return [entries[round(i * (len(entries) - 1) / max(limit - 1, 1))] for i in range(limit)]
