"""One clip: its pixels, window, holes, mirror image and flow."""

from __future__ import annotations

import dataclasses
import itertools
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from dp3_lightning.data.clip_index import ClipEntry, clips_of_video, measured_jitter
from dp3_lightning.data.clips import MAX_OPEN_VIDEOS, VideoClips, measure_flow
from dp3_lightning.data.synthetic import SyntheticClip, synthetic_clip
from dp3_lightning.faces.analysis import analyze
from dp3_lightning.faces.crop import crop_frame, hole_mask
from dp3_lightning.optical_flow import DISFlow
from dp3_lightning.structures import FloatArray, UInt8Array
from dp3_lightning.video import VideoReader, reader, write_video
from tests.training_fixtures import RecordedDetector, write_synthetic_video

SIZE, LENGTH = (96, 128), 5
# Moves by one to three pixels a frame, so that a flow in the wrong direction shows.
OPTIONS: dict[str, Any] = {"identity": 4, "seed": 5, "n_frames": 11, "size": SIZE, "motion": 1.5}


class Scene(NamedTuple):
    truth: SyntheticClip
    reader: VideoReader
    entries: list[ClipEntry]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    folder = tmp_path_factory.mktemp("scene")
    video = VideoReader(write_synthetic_video(folder / "talk.mkv", **OPTIONS), threads=1)
    analysis = analyze(video, RecordedDetector(str(folder / "boxes.json")))
    entries = clips_of_video(analysis, 0, range(len(video)), LENGTH, 3)
    assert [e.start for e in entries] == [0, 3, 6]
    return Scene(synthetic_clip(**OPTIONS), video, entries)


def clips(scene: Scene, size: tuple[int, int] = (64, 64), **options: Any) -> VideoClips:
    return VideoClips([scene.reader], scene.entries, LENGTH, size, **options)


def window_of(frame_box: FloatArray, crop_box: FloatArray, side: int) -> tuple[int, ...]:
    """The square window that took a box of the frame to a box of the crop."""
    scale = (crop_box[2] - crop_box[0]) / (frame_box[2] - frame_box[0])
    x, y = frame_box[:2] - crop_box[:2] / scale
    exact = np.array([x, y, x + side / scale, y + side / scale])
    np.testing.assert_allclose(exact, exact.round(), atol=1e-3)  # windows are whole pixels
    return tuple(int(v) for v in exact.round())


def pixels(clip: Tensor) -> UInt8Array:
    frames = clip.permute(0, 2, 3, 1) * 127.5 + 127.5
    return frames.round().to(torch.uint8).numpy()


@pytest.mark.parametrize("rule", ["fdf128", "fdf256"])
def test_pixels_are_those_of_the_file_at_frame_index_cut_by_one_window(
    scene: Scene, rule: Any
) -> None:
    for sample in clips(scene, rule=rule):
        frame_index = sample["frame_index"].numpy()
        assert np.diff(frame_index).tolist() == [1] * (LENGTH - 1)
        boxes = scene.truth.boxes[frame_index]
        windows = {
            window_of(a, b, 64) for a, b in zip(boxes, sample["box"].double().numpy(), strict=True)
        }
        assert len(windows) == 1
        (window,) = windows
        expected = [crop_frame(scene.truth.frames[i], window, (64, 64)) for i in frame_index]
        np.testing.assert_array_equal(pixels(sample["clip"]), expected)
        assert (sample["box"] >= 0).all()
        assert (sample["box"] <= 64).all()  # every hole lies in the window


def test_sample_is_what_structures_documents(scene: Scene) -> None:
    sample = clips(scene, flow=DISFlow())[1]
    shapes = {k: tuple(v.shape) for k, v in sample.items() if isinstance(v, Tensor)}
    flow = {f"flow_{k}_{r}": (4, 2, 64, 64) for k in ("to", "from") for r in ("previous", "first")}
    assert shapes == flow | {
        "clip": (5, 3, 64, 64),
        "keep_mask": (5, 1, 64, 64),
        "box": (5, 4),
        "other_faces": (5, 1, 64, 64),
        "frame_index": (5,),
        "pair_valid": (4,),
    }
    assert (sample["sample_index"], sample["source"]) == (1, "talk.mkv")
    assert sample["clip"].dtype == sample["keep_mask"].dtype == sample["box"].dtype == torch.float32
    assert sample["pair_valid"].dtype == torch.bool
    assert sample["pair_valid"].all()
    assert sample["frame_index"].tolist() == [3, 4, 5, 6, 7]
    assert -1 <= sample["clip"].min() < -0.5
    assert 0.5 < sample["clip"].max() <= 1
    assert set(sample["keep_mask"].unique().tolist()) == {0.0, 1.0}


def box_video(folder: Path, boxes: Sequence[Sequence[int]]) -> VideoReader:
    """White where the face is, dark elsewhere."""
    frames = np.full((len(boxes), *SIZE, 3), 20, np.uint8)
    for frame, (x0, y0, x1, y1) in zip(frames, boxes, strict=True):
        frame[y0:y1, x0:x1] = 255
    return VideoReader(write_video(folder / "boxes.mkv", list(frames), 25, lossless=True))


# In the middle, at the left border, at the bottom right corner, and on the move.
@pytest.mark.parametrize("step", [(40, 30, 0), (2, 30, 0), (100, 60, 0), (10, 30, 12)])
def test_hole_covers_the_face(tmp_path: Path, step: tuple[int, int, int]) -> None:
    x, y, move = step
    boxes = [(x + move * t, y, x + move * t + 24, y + 30) for t in range(3)]
    video, entry = box_video(tmp_path, boxes), ClipEntry(0, 0, np.array(boxes, np.float64))
    sizes, rules = [(64, 64), (128, 128), (64, 96), (96, 48)], ("fdf128", "fdf256")
    for size, rule, flip in itertools.product(sizes, rules, (0.0, 1.0)):
        sample = VideoClips([video], [entry], 3, size, rule, flip=flip)[0]
        white = (sample["clip"][:, 0] > 0).numpy().astype(np.uint8)
        hole = (sample["keep_mask"][:, 0] == 0).numpy().astype(np.uint8)
        for face, cover in zip(white, hole, strict=True):
            assert face.any()
            # The same rectangle, up to one pixel of rounding.
            assert not (face & ~cv2.dilate(cover, np.ones((3, 3), np.uint8))).any()
            assert not (cover & ~cv2.dilate(face, np.ones((3, 3), np.uint8))).any()


def test_flip_mirrors_clip_box_and_mask(scene: Scene) -> None:
    for plain, mirrored in zip(clips(scene, flip=0.0), clips(scene, flip=1.0), strict=True):
        assert torch.equal(mirrored["clip"], plain["clip"].flip(-1))
        x0, y0, x1, y1 = plain["box"].unbind(-1)
        torch.testing.assert_close(
            mirrored["box"], torch.stack([64 - x1, y0, 64 - x0, y1], -1), atol=1e-4, rtol=0
        )
        for sample in (plain, mirrored):
            masks = [hole_mask(b, (64, 64)) for b in sample["box"].double().numpy()]
            np.testing.assert_array_equal(sample["keep_mask"][:, 0], masks)
        # Box borders are cut to whole pixels, so mirrored masks agree up to one column a side.
        differing = mirrored["keep_mask"] != plain["keep_mask"].flip(-1)
        assert differing.any(dim=-2).sum(dim=-1).max() <= 2


def crop_flow(flow: FloatArray, window: tuple[int, ...], side: int) -> Tensor:
    x0, y0, x1, y1 = window
    scale = side / (x1 - x0)
    small = [cv2.resize(f[:, y0:y1, x0:x1].transpose(1, 2, 0), (side, side)) for f in flow]
    return torch.from_numpy(np.stack(small)).permute(0, 3, 1, 2) * scale


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_flow_is_that_of_the_crops_and_mirrors_with_them(scene: Scene, flip: float) -> None:
    size = 96
    sample = clips(scene, (size, size), flip=flip, flow=DISFlow())[0]
    box = sample["box"].double().numpy()[0].copy()
    if flip:
        box[[0, 2]] = size - box[[2, 0]]
    window = window_of(scene.truth.boxes[0], box, size)
    hole = sample["keep_mask"][1:] == 0
    for key in ("to_previous", "from_previous", "to_first", "from_first"):
        truth = crop_flow(getattr(scene.truth, f"flow_{key}")[: LENGTH - 1], window, size)
        if flip:
            truth = truth.flip(-1) * torch.tensor([-1.0, 1.0])[:, None, None]
        measured = sample[f"flow_{key}"]
        inside = hole.expand(-1, 2, -1, -1)
        error = (measured - truth)[inside].abs().median()
        assert error < 0.25, key
        assert (measured + truth)[inside].abs().median() > 4 * error, key  # wrong way round


def test_flow_is_measured_on_the_frames_that_are_given_out(scene: Scene) -> None:
    sample = clips(scene, flip=1.0, flow=DISFlow())[2]
    clip, flow = sample["clip"], DISFlow()
    torch.testing.assert_close(sample["flow_to_first"][3:], flow(clip[4:], clip[:1]))
    torch.testing.assert_close(sample["flow_from_first"][3:], flow(clip[:1], clip[4:]))
    torch.testing.assert_close(sample["flow_to_previous"][2:3], flow(clip[3:4], clip[2:3]))
    torch.testing.assert_close(sample["flow_from_previous"][2:3], flow(clip[2:3], clip[3:4]))
    assert torch.equal(sample["flow_to_first"][0], sample["flow_to_previous"][0])


def test_two_frames_have_one_pair_in_both_ranges() -> None:
    fields = measure_flow(torch.zeros(2, 3, 32, 32), DISFlow())
    assert all(f.shape == (1, 2, 32, 32) for f in fields.values())


def test_window_jitter_is_in_the_flow(tmp_path: Path) -> None:
    # Nothing moves but the window: what the box does in the crop is what the flow must tell.
    frame = synthetic_clip(identity=4, seed=5, n_frames=2, size=SIZE).frames[0]
    video = VideoReader(write_video(tmp_path / "still.mkv", [frame] * 4, 25, lossless=True))
    entry = ClipEntry(0, 0, np.tile([50.0, 30.0, 78.0, 66.0], (4, 1)))
    options: dict[str, Any] = {"window_jitter": 0.04, "flow": DISFlow(), "flip": 1.0}
    sample = VideoClips([video], [entry], 4, (96, 96), **options)[0]
    corner = sample["box"][:, :2]
    assert corner.diff(dim=0).abs().max() > 1
    ranges = {"previous": corner[:-1] - corner[1:], "first": corner[:1] - corner[1:]}
    for name, shift in ranges.items():
        for sign, way in ((1, "to"), (-1, "from")):
            measured = sample[f"flow_{way}_{name}"].flatten(2).median(dim=2).values
            torch.testing.assert_close(measured, sign * shift, atol=0.3, rtol=0)
    still = VideoClips([video], [entry], 4, (96, 96))[0]
    assert torch.equal(still["box"], still["box"][:1].expand(4, 4))


def shaky(scene: Scene) -> list[ClipEntry]:
    """The face's true path with the tremble of a detector on it."""
    boxes = scene.truth.boxes
    noise = np.random.default_rng(3).normal(0, 1.5, size=boxes.shape)
    return [ClipEntry(0, 0, boxes + noise)]


def holes(scene: Scene, mode: Any, epoch: int = 0, seed: int = 0) -> FloatArray:
    entries = shaky(scene)
    data = VideoClips([scene.reader], entries, 11, (64, 64), "fdf256", hole_jitter=mode, seed=seed)
    return data[0, epoch]["box"].double().numpy()


def test_hole_jitter_modes(scene: Scene) -> None:
    detected, smooth = holes(scene, "detected"), holes(scene, "none")
    boxes = shaky(scene)[0].boxes
    window_of(boxes[0], detected[0], 64)  # the detector's own boxes, all of their tremble
    assert measured_jitter(smooth) < 0.4 * measured_jitter(detected)
    tremble = np.stack([holes(scene, "measured", epoch) - smooth for epoch in range(30)])
    side = (smooth[:, 2:] - smooth[:, :2]).mean()
    assert tremble.std() / side == pytest.approx(measured_jitter(boxes), rel=0.15)
    assert abs(tremble.mean()) < 0.1


def test_jitter_is_drawn_anew_each_epoch_but_not_each_time(scene: Scene) -> None:
    first = holes(scene, "measured", epoch=1)
    np.testing.assert_array_equal(holes(scene, "measured", epoch=1), first)
    assert (holes(scene, "measured", epoch=2) != first).any()
    assert (holes(scene, "measured", epoch=1, seed=1) != first).any()


def test_half_of_the_clips_are_mirrored(scene: Scene) -> None:
    data, plain = clips(scene, flip=0.5), clips(scene)[0]["clip"]
    mirrored = [not torch.equal(data[0, epoch]["clip"], plain) for epoch in range(60)]
    assert 18 <= sum(mirrored) <= 42


def test_stills_have_no_pairs_and_no_flow(scene: Scene) -> None:
    entry = ClipEntry(0, 7, scene.truth.boxes[7:8])
    sample = VideoClips([scene.reader], [entry], 1, (64, 64), flow=DISFlow())[0]
    assert sample["clip"].shape == (1, 3, 64, 64)
    assert sample["pair_valid"].shape == (0,)
    assert not [key for key in sample if key.startswith("flow")]


def test_containers_stay_open_but_not_too_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Path] = []
    closed: list[Path] = []
    decode_run, close = reader.DecodeRun, VideoReader.close

    def counting_run(path: Path, *rest: Any) -> Any:
        opened.append(path)
        return decode_run(path, *rest)

    def counting_close(self: VideoReader) -> None:
        closed.append(self.path)
        close(self)

    frames = list(synthetic_clip(n_frames=6, size=(32, 32)).frames)
    paths = [tmp_path / f"{i}.mkv" for i in range(MAX_OPEN_VIDEOS + 2)]
    readers = [VideoReader(write_video(p, frames, 25, lossless=True), threads=1) for p in paths]
    monkeypatch.setattr(reader, "DecodeRun", counting_run)
    monkeypatch.setattr(VideoReader, "close", counting_close)
    box = np.tile([8.0, 8.0, 24.0, 24.0], (2, 1))
    entries = [ClipEntry(v, s, box) for v in range(len(paths)) for s in (0, 2, 4)]
    data = VideoClips(readers, entries, 2, (32, 32))
    few = 3 * MAX_OPEN_VIDEOS
    for index in [*range(few), *reversed(range(few))]:
        data[index]
    assert opened == paths[:MAX_OPEN_VIDEOS]  # once each, although read again and again
    assert closed == []
    data[few]
    data[few + 3]
    # The order of last use was 7, 6, ..., 0: the two that were not needed for longest are closed.
    assert closed == [paths[7], paths[6]]
    assert np.array_equal(pixels(data[3 * 7]["clip"]), pixels(data[0]["clip"]))  # opens again


def test_travels_to_worker_processes(scene: Scene) -> None:
    data = clips(scene, flip=0.5, flow=DISFlow())
    first = data[0]
    copy = pickle.loads(pickle.dumps(data))
    for key, value in copy[0].items():
        assert torch.equal(value, first[key]) if isinstance(value, Tensor) else value == first[key]


def test_other_faces_are_marked_and_follow_the_flip(scene: Scene) -> None:
    entry = scene.entries[0]
    beside = entry.boxes - [40.0, 0.0, 40.0, 0.0]
    others = [beside[i : i + 1] if i < 3 else np.zeros((0, 4)) for i in range(LENGTH)]
    entry = dataclasses.replace(entry, others=others)
    plain, mirrored = (
        VideoClips([scene.reader], [entry], LENGTH, (64, 64), "fdf256", flip=p)[0]
        for p in (0.0, 1.0)
    )
    marked = plain["other_faces"]
    assert marked.dtype == torch.uint8
    assert marked[:3].flatten(1).any(dim=1).all()
    assert not marked[3:].any()
    # It stands left of the hole, as far as 40 pixels of the frame are in the crop.
    hole = plain["keep_mask"] == 0
    columns = [m[0, 0].any(dim=0).nonzero().max().item() for m in (marked.bool(), hole)]
    assert columns[0] < columns[1]
    differ = mirrored["other_faces"] != marked.flip(-1)
    assert differ.float().mean() < 0.02  # edges are rounded half to even


def test_track_and_rate_name_the_pseudonym(scene: Scene) -> None:
    first, second = clips(scene)[0], clips(scene)[1]
    assert first["track_key"] == second["track_key"]
    other = dataclasses.replace(scene.entries[0], track=1)
    assert (
        VideoClips([scene.reader], [other], LENGTH, (64, 64))[0]["track_key"] != first["track_key"]
    )
    assert first["frame_rate"] == 25.0
