"""The data module: from files to batches, splits, ranks, resumption and errors."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.trainer.states import RunningStage
from torch import Tensor
from torch.utils.data import default_collate

from dp3_lightning.data import VideoClipDataModule, datamodule
from dp3_lightning.data.synthetic import synthetic_clip
from dp3_lightning.faces import CenterFace
from dp3_lightning.structures import Detection
from dp3_lightning.video import write_video
from tests.training_fixtures import RecordedDetector, write_people

Batch = dict[str, Any]
PEOPLE = ["ann", "bob", "cid", "dot"]
SIZE = (64, 80)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RecordedDetector]:
    """Four people, 13 frames each; a cut at frame 9."""
    folder = tmp_path_factory.mktemp("videos")
    return folder, write_people(folder, PEOPLE, n_frames=13, size=SIZE, cuts=(9,))


@pytest.fixture
def make(videos: tuple[Path, RecordedDetector]) -> Any:
    folder, detector = videos

    def module(**changes: Any) -> VideoClipDataModule:
        options: dict[str, Any] = {
            "source": str(folder),
            "clip_length": 3,
            "image_size": 32,
            "batch_size": 2,
            "flow": False,
            "detector": detector,
            "val_fraction": 0.0,
            "cache_dir": str(folder.parent / "cache"),
        }
        data = VideoClipDataModule(**{**options, **changes})
        data.setup()
        return data

    return module


def frames_of(batches: Any) -> list[tuple[str, int]]:
    """(identity of the video, frame) of every frame of the batches."""
    return [
        (source, int(i))
        for batch in batches
        for source, indices in zip(batch["source"], batch["frame_index"], strict=True)
        for i in indices
    ]


def same(first: Batch, second: Batch) -> bool:
    return first.keys() == second.keys() and all(
        torch.equal(v, second[k]) if isinstance(v, Tensor) else v == second[k]
        for k, v in first.items()
    )


def people_of(data: VideoClipDataModule, split: str) -> set[str]:
    clips = data.clips[split]
    return {clips.readers[e.video].path.parent.name for e in clips.entries}


# ---------------------------------------------------------------------- batches


def test_batch_is_what_structures_documents(make: Any) -> None:
    batch = next(iter(make(flow=True, clip_length=4, image_size=(48, 48)).train_dataloader()))
    shapes = {k: tuple(v.shape) for k, v in batch.items() if isinstance(v, Tensor)}
    flow = {
        f"flow_{k}_{r}": (2, 3, 2, 48, 48) for k in ("to", "from") for r in ("previous", "first")
    }
    assert shapes == flow | {
        "clip": (2, 4, 3, 48, 48),
        "keep_mask": (2, 4, 1, 48, 48),
        "box": (2, 4, 4),
        "frame_index": (2, 4),
        "other_faces": (2, 4, 1, 48, 48),
        "sample_index": (2,),
        "track_key": (2,),
        "frame_rate": (2,),
        "pair_valid": (2, 3),
    }
    assert batch["source"] == ["clip.mkv", "clip.mkv"]
    assert batch["pair_valid"].all()
    assert not [k for k in next(iter(make().train_dataloader())) if k.startswith("flow")]


@pytest.mark.parametrize("split_by", ["group", "time"])
def test_clips_are_consecutive_frames_between_cuts(make: Any, split_by: str) -> None:
    data = make(split_by=split_by)
    starts = []
    for clip in data.clips["train"]:
        index = clip["frame_index"]
        assert index.diff().eq(1).all()
        assert index[-1] < 9 or index[0] >= 9  # the cut
        starts.append(int(index[0]))
    # Seven clips before the cut and two after it, of each of four people: none is left out.
    assert sorted(starts) == sorted([*range(7), 9, 10] * 4)


def test_frames_show_what_the_file_has_there(make: Any) -> None:
    data = make(flip=0.0, image_size=64)
    for sample, entry in zip(data.clips["train"], data.clips["train"].entries, strict=True):
        person = data.clips["train"].readers[entry.video].path.parent.name
        number = PEOPLE.index(person)
        clip = synthetic_clip(identity=number, seed=number, n_frames=13, size=SIZE, cuts=(9,))
        np.testing.assert_allclose(entry.boxes, clip.boxes[sample["frame_index"]])
        # The colour at the centre of the hole is that at the centre of the recorded box.
        for t, i in enumerate(sample["frame_index"]):
            (x0, y0, x1, y1), box = clip.boxes[i], sample["box"][t]
            there = clip.frames[i][int((y0 + y1) / 2), int((x0 + x1) / 2)] / 127.5 - 1
            column, row = (box[:2] + box[2:]).int() // 2
            here = sample["clip"][t, :, row - 1 : row + 2, column - 1 : column + 2]
            assert (here.mean(dim=(1, 2)).numpy() - there).__abs__().max() < 0.25


# ---------------------------------------------------------------------- layouts


@pytest.fixture
def voxceleb(tmp_path: Path) -> tuple[Path, RecordedDetector]:
    people = [f"dev/mp4/id0000{i}/yt_{i}" for i in (1, 2, 3)] + ["test/mp4/id00009/yt_9"]
    return tmp_path, write_people(tmp_path, people, n_frames=4, size=SIZE)


def test_official_test_people_are_the_test(voxceleb: tuple[Path, RecordedDetector]) -> None:
    folder, detector = voxceleb
    options: dict[str, Any] = {"flow": False, "val_fraction": 0.3, "cache_dir": str(folder / "c")}
    data = VideoClipDataModule(str(folder), 3, image_size=32, detector=detector, **options)
    data.setup()
    splits = [{e.video for e in data.clips[s].entries} for s in ("train", "val", "test")]
    assert splits[2] == {3}
    assert splits[0] | splits[1] == {0, 1, 2}
    assert not splits[0] & splits[1]
    assert len(list(data.test_dataloader()))


def test_layout_is_checked_and_passed_on(make: Any) -> None:
    assert people_of(make(layout="identity"), "train") == set(PEOPLE)
    with pytest.raises(ValueError, match="does not have the layout 'voxceleb2'"):
        make(layout="voxceleb2")
    with pytest.raises(ValueError, match="Expected `layout`"):
        VideoClipDataModule("anywhere", layout="voxceleb")


@pytest.mark.parametrize("fractions", [True, False])
def test_box_of_a_manifest_picks_the_face(
    videos: tuple[Path, RecordedDetector], make: Any, tmp_path: Path, fractions: bool
) -> None:
    folder, _ = videos
    x0, y0, x1, y1 = synthetic_clip(identity=0, seed=0, n_frames=13, size=SIZE).boxes[0]
    path = next((folder / "ann").glob("*.m*"))
    scale = (SIZE[1], SIZE[0]) * 2 if fractions else (1, 1, 1, 1)

    def clips(*box: float) -> int:
        row = {"path": str(path), "box": [v / s for v, s in zip(box, scale, strict=True)]}
        (tmp_path / "list.jsonl").write_text(json.dumps(row))
        return len(make(source=str(tmp_path / "list.jsonl")).clips["train"])

    margin = 6  # the face moves
    around = (max(x0 - margin, 0), max(y0 - margin, 0), min(x1 + margin, 80), min(y1 + margin, 64))
    assert clips(*around) == 9
    with pytest.raises(ValueError, match="No clip"):
        clips(0, 0, 4, 4)
    if not fractions:
        with pytest.raises(ValueError, match="reaches out of its frames of 80x64 pixels"):
            clips(0, 0, 400, 300)


def test_boxes_and_a_split_by_time_exclude_each_other(
    videos: tuple[Path, RecordedDetector], make: Any, tmp_path: Path
) -> None:
    path = next((videos[0] / "ann").glob("*.m*"))
    (tmp_path / "list.jsonl").write_text(json.dumps({"path": str(path), "box": [0, 0, 1, 1]}))
    with pytest.raises(ValueError, match="have a `box`"):
        make(source=str(tmp_path / "list.jsonl"), split_by="time", val_fraction=0.3)


# ---------------------------------------------------------------------- splits


def test_nobody_is_in_two_splits_and_nobody_is_lost(make: Any) -> None:
    with pytest.warns(UserWarning, match="held out") as caught:
        data = make(val_fraction=0.01, test_fraction=0.01)
    assert len([w for w in caught if "held out" in str(w.message)]) == 2  # val and test, once each
    parts = [people_of(data, split) for split in ("train", "val", "test")]
    assert [len(p) for p in parts] == [2, 1, 1]
    assert set.union(*parts) == set(PEOPLE)
    assert people_of(data, "predict") == set(PEOPLE)


def test_split_by_time_shares_no_frame(make: Any, videos: tuple[Path, RecordedDetector]) -> None:
    data = make(split_by="time", val_fraction=0.3, test_fraction=0.3, source=str(videos[0] / "ann"))
    used = [frames_of(map(default_collate, zip(data.clips[s]))) for s in ("train", "val", "test")]
    assert all(used)
    for first, second in itertools.combinations(map(set, used), 2):
        assert not first & second
    assert max(used[0])[1] < min(used[1])[1] <= max(used[1])[1] < min(used[2])[1]


def test_manifest_fixes_splits_and_seconds(
    make: Any, videos: tuple[Path, RecordedDetector]
) -> None:
    path = videos[0] / "list.jsonl"
    rows: list[dict[str, Any]] = [
        {"path": "ann/clip.mkv", "split": "train", "start": 0.08, "end": 0.32},
        {"path": "bob/clip.mkv", "identity": "b", "split": "val"},
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    data = make(source=str(path), val_fraction=0.1)
    assert (people_of(data, "train"), people_of(data, "val")) == ({"ann"}, {"bob"})
    assert [e.start for e in data.clips["train"].entries] == [2, 3, 4, 5]
    with pytest.raises(ValueError, match=r"`split_by` is 'time'.*split_by: group"):
        make(source=str(path), split_by="time")
    rows[0]["identity"] = "b"
    path.write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(ValueError, match=r"'b' is in the splits 'train' and 'val'"):
        make(source=str(path))


def test_held_out_clips_are_plain_and_do_not_overlap(make: Any) -> None:
    data = make(val_fraction=0.5, flip=1.0, window_jitter=0.1, hole_jitter="measured")
    held, again = data.clips["val"], make(val_fraction=0.5, flip=0.0, seed=0).clips["val"]
    assert len(held)
    assert all(same(a, b) for a, b in zip(held, again, strict=True))
    frames = [(e.video, i) for e in held.entries for i in range(e.start, e.start + 3)]
    assert len(set(frames)) == len(frames)
    batches = list(data.val_dataloader())
    assert torch.cat([b["sample_index"] for b in batches]).tolist() == list(range(len(held)))


def test_max_eval_clips_are_spread_over_all(make: Any) -> None:
    whole = make(val_fraction=0.5).clips["val"].entries
    few = make(val_fraction=0.5, max_eval_clips=2).clips["val"].entries
    assert [(e.video, e.start) for e in few] == [(e.video, e.start) for e in (whole[0], whole[-1])]
    assert len(make(val_fraction=0.5, max_eval_clips=1).clips["val"]) == 1
    assert len(make(val_fraction=0.5, max_eval_clips=2).clips["train"]) > 2


def test_absent_splits(make: Any) -> None:
    data = make()
    assert data.val_dataloader() == []
    with pytest.raises(ValueError, match="`test_fraction`"):
        data.test_dataloader()


def test_predict_covers_every_video_and_clip_once(make: Any) -> None:
    with pytest.warns(UserWarning, match="held out"):
        data = make(val_fraction=0.01, flow=True)
    recorder = Recorder()
    Trainer(**QUIET).predict(recorder, data)
    entries = [data.clips["predict"].entries[i] for i in recorder.seen]
    # 13 frames with a cut at 9: three clips before it; after it one, and one that overlaps it so
    # that the 13th frame is not left out.
    expected = [(video, start) for video in range(4) for start in (0, 3, 6, 9, 10)]
    assert [(e.video, e.start) for e in entries] == expected
    assert not recorder.keys & {"flow_to_previous"}


# ---------------------------------------------------------------------- order, ranks, resumption


def test_same_seed_same_batches(make: Any) -> None:
    options = {"flip": 0.5, "hole_jitter": "measured", "window_jitter": 0.05}
    first, second = (list(make(**options).train_dataloader()) for _ in range(2))
    assert all(same(a, b) for a, b in zip(first, second, strict=True))
    other = make(**options, seed=1).train_dataloader()
    assert frames_of(other) != frames_of(first)


def on_rank(data: VideoClipDataModule, world: int, rank: int) -> VideoClipDataModule:
    data.trainer = SimpleNamespace(world_size=world, global_rank=rank)  # type: ignore[assignment]
    return data


def test_two_ranks_make_the_doubled_batch_bit_for_bit(make: Any) -> None:
    options = {"flip": 0.5, "hole_jitter": "measured"}
    zero, one = (on_rank(make(**options), 2, r).train_dataloader() for r in (0, 1))
    single = make(**options, batch_size=4).train_dataloader()
    for _ in range(2):  # also in the second epoch
        steps = list(zip(zero, one, single, strict=True))
        assert len(steps) == 9
        for a, b, both in steps:
            assert not set(a["sample_index"].tolist()) & set(b["sample_index"].tolist())
            rows = dict(zip(both["sample_index"].tolist(), both["clip"], strict=True))
            for part in (a, b):
                for index, clip in zip(part["sample_index"].tolist(), part["clip"], strict=True):
                    assert torch.equal(rows.pop(index), clip)
            assert not rows


@pytest.mark.parametrize("stage", [RunningStage.VALIDATING, RunningStage.PREDICTING])
def test_lightning_does_not_shard_the_shards_again(make: Any, stage: RunningStage) -> None:
    seen: list[int] = []
    for rank in (0, 1):
        trainer = Trainer(strategy="ddp", devices=2, **QUIET)
        trainer.strategy.cluster_environment.set_global_rank(rank)
        data = make(val_fraction=0.5)
        data.trainer = trainer
        validating = stage == RunningStage.VALIDATING
        loader = data.val_dataloader() if validating else data.predict_dataloader()
        prepared = trainer._data_connector._prepare_dataloader(loader, shuffle=False, mode=stage)
        seen += [i for batch in prepared for i in batch["sample_index"].tolist()]
        split = "val" if validating else "predict"
        assert 0 < len(seen) <= len(data.clips[split])
    assert sorted(seen) == list(range(len(data.clips[split])))


@pytest.mark.parametrize("workers", [0, 2])
def test_resumed_loader_gives_exactly_the_remaining_batches(make: Any, workers: int) -> None:
    options = {"flip": 0.5, "hole_jitter": "measured", "num_workers": workers}
    before = make(**options).train_dataloader()
    whole = [*before, *before]  # two epochs of 18
    assert len(whole) == 36
    again = make(**options).train_dataloader()
    for done, batch in enumerate(itertools.chain(again, again), start=1):
        assert same(batch, whole[done - 1])
        if done == 20:
            break
    after = make(**options).train_dataloader()
    after.load_state_dict(again.state_dict())
    rest = list(after)
    assert len(rest) == 16
    assert all(same(a, b) for a, b in zip(rest, whole[20:], strict=True))


QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


class Recorder(LightningModule):
    """Learns nothing; writes down the clips it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: list[int] = []
        self.keys: set[str] = set()

    def training_step(self, batch: Batch, _: int) -> Tensor:
        self.seen += batch["sample_index"].tolist()
        return self.weight * batch["clip"].mean()

    def predict_step(self, batch: Batch, _: int) -> None:
        self.seen += batch["sample_index"].tolist()
        self.keys |= batch.keys()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("stop", [1, 4, 5])  # in mid-epoch, at its exact end, and after it
def test_lightning_resumes_at_the_next_batch(make: Any, tmp_path: Path, stop: int) -> None:
    def fit(steps: int, checkpoint: Path | None = None) -> tuple[Recorder, Trainer]:
        recorder, trainer = Recorder(), Trainer(max_steps=steps, max_epochs=-1, **QUIET)
        trainer.fit(recorder, make(batch_size=9), ckpt_path=checkpoint)  # four batches an epoch
        return recorder, trainer

    whole = fit(10)[0].seen
    assert len(whole) == 90
    recorder, trainer = fit(stop)
    trainer.save_checkpoint(tmp_path / "stop.ckpt")
    assert recorder.seen + fit(10, tmp_path / "stop.ckpt")[0].seen == whole


# ---------------------------------------------------------------------- cache and preparation


def test_faces_are_found_once(
    videos: tuple[Path, RecordedDetector], make: Any, tmp_path: Path
) -> None:
    detector = RecordedDetector(videos[1].record)
    options = {"detector": detector, "cache_dir": str(tmp_path / "cache")}
    make(**options)
    assert detector.calls == 13 * len(PEOPLE)
    with pytest.raises(ValueError, match="No clip of 99 frames"):
        make(**options, clip_length=99)
    make(**options, split_by="time", seed=4)
    assert detector.calls == 13 * len(PEOPLE)


def test_prepare_data_fetches_samples_and_analyses(
    videos: tuple[Path, RecordedDetector], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[str] = []

    def fetch(name: str) -> Path:
        fetched.append(name)
        return videos[0] / "ann" / "clip.mkv"

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("dp3_lightning.data.sources.asset_path", fetch)
    monkeypatch.setattr(datamodule, "asset_path", fetch)
    detector = RecordedDetector(videos[1].record)
    data = VideoClipDataModule(
        "carphone", clip_length=3, detector=detector, val_fraction=0, cache_dir=str(tmp_path / "c")
    )
    data.prepare_data()
    assert fetched[0] == "carphone"
    assert detector.calls == 13
    assert not data.clips  # state belongs to setup, which runs in every process
    data.setup("fit")
    data.setup("validate")
    assert detector.calls == 13
    assert len(data.clips["train"]) == 9


# ---------------------------------------------------------------------- bad input


def test_no_video_in_the_folder(make: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="No video in the folder"):
        make(source=str(tmp_path))
    with pytest.raises(FileNotFoundError, match="missing"):
        make(source=str(tmp_path / "missing"))


def test_unreadable_video(make: Any, tmp_path: Path) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"this is no video")
    with pytest.raises(ValueError, match=r"No readable video in .*broken\.mp4.*convert it again"):
        make(source=str(tmp_path))
    assert (tmp_path / "broken.mp4").read_bytes() == b"this is no video"


def test_unreadable_video_among_others_is_left_out_with_a_warning(
    make: Any, tmp_path: Path
) -> None:
    detector = write_people(tmp_path, ["ann"], n_frames=6, size=SIZE)
    (tmp_path / "broken.mp4").write_bytes(b"this is no video")
    with pytest.warns(UserWarning, match=r"Left out: .*broken\.mp4"):
        data = make(source=str(tmp_path), detector=detector)
    assert len(data.clips["train"]) == 4
    assert people_of(data, "train") == {"ann"}


def test_no_face(make: Any, tmp_path: Path) -> None:
    frames = list(synthetic_clip(n_frames=4, size=SIZE, seed=77).frames)
    write_video(tmp_path / "empty.mkv", frames, 25, lossless=True)
    with pytest.raises(ValueError, match=r"No face found in 1 video.*`threshold`") as error:
        make(source=str(tmp_path / "empty.mkv"))
    assert "empty.mkv" in str(error.value)


def test_clip_length_beyond_every_video_names_the_longest_run(make: Any) -> None:
    with pytest.raises(ValueError, match=r"No clip of 10 frames.* has 9 frames.*`clip_length`"):
        make(clip_length=10)
    assert len(make(clip_length=9, batch_size=1).clips["train"]) == 4


def test_face_too_small(make: Any) -> None:
    with pytest.raises(ValueError, match=r"face of 500 px.*`min_face_size`"):
        make(min_face_size=500)


def test_batch_size_beyond_the_data(make: Any) -> None:
    with pytest.raises(ValueError, match=r"37 x 1 training clips, got 36: lower `batch_size`"):
        make(batch_size=37).train_dataloader()
    with pytest.raises(ValueError, match=r"19 x 2 training clips"):
        on_rank(make(batch_size=19), 2, 0).train_dataloader()


def test_one_person_cannot_be_split(make: Any, videos: tuple[Path, RecordedDetector]) -> None:
    with pytest.raises(ValueError, match=r"too few.*split_by: time"):
        make(source=str(videos[0] / "ann"), val_fraction=0.1)


def test_empty_held_out_split_is_no_silent_success(
    make: Any, videos: tuple[Path, RecordedDetector]
) -> None:
    with pytest.raises(
        ValueError, match=r"No clip of 3 frames .*in the `val` split: raise `val_fraction`"
    ):
        make(source=str(videos[0] / "ann"), split_by="time", val_fraction=0.1)


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("clip_length", 0),
        ("stride", 0),
        ("batch_size", -1),
        ("max_eval_clips", 0),
        ("image_size", 0),
        ("split_by", "person"),
        ("hole_jitter", "gauss"),
        ("crop_rule", "fdh"),
        ("val_fraction", -0.1),
        ("test_fraction", 1.0),
        ("flip", 1.5),
        ("window_jitter", -0.1),
    ],
)
def test_arguments_out_of_range_are_named_with_their_value(
    make: Any, argument: str, value: Any
) -> None:
    with pytest.raises(ValueError, match=rf"`{argument}`.*{value}"):
        make(**{argument: value})


# ---------------------------------------------------------------------- the real thing


@pytest.mark.assets
def test_sample_clip_through_the_real_detector(tmp_path: Path) -> None:
    data = VideoClipDataModule(
        "carphone",
        clip_length=4,
        image_size=64,
        batch_size=2,
        split_by="time",
        val_fraction=0.2,
        flip=0.0,
        cache_dir=str(tmp_path),
    )
    data.prepare_data()
    data.setup()
    batch = next(iter(data.train_dataloader()))
    assert batch["clip"].shape == (2, 4, 3, 64, 64)
    assert batch["flow_to_previous"].shape == (2, 3, 2, 64, 64)
    assert batch["frame_index"].diff(dim=1).eq(1).all()
    # The detector finds the face again in the crop, and the hole covers its centre.
    crops = ((batch["clip"][:, 0] + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    again = CenterFace()(list(crops))
    for found, mask, box in zip(again, batch["keep_mask"], batch["box"], strict=True):
        assert found
        x0, y0, x1, y1 = found[0].box
        assert mask[0, 0, int((y0 + y1) / 2), int((x0 + x1) / 2)] == 0
        assert abs(float(box[0, 2] - box[0, 0]) - (x1 - x0)) < 12


@pytest.mark.assets
def test_sample_clip_without_a_face(tmp_path: Path) -> None:
    data = VideoClipDataModule("no_face", clip_length=4, cache_dir=str(tmp_path))
    with pytest.raises(ValueError, match=r"No face found in 1 video.*'no_face'.*`threshold`"):
        data.setup()


# ---------------------------------------------------------------------- stages and state


def unprepared(videos: tuple[Path, RecordedDetector], **changes: Any) -> VideoClipDataModule:
    folder, detector = videos
    options: dict[str, Any] = {"clip_length": 3, "image_size": 32, "flow": False, "batch_size": 2}
    options |= {"detector": detector, "cache_dir": str(folder.parent / "cache")}
    return VideoClipDataModule(**{"source": str(folder), **options, **changes})


def test_predict_needs_no_split(videos: tuple[Path, RecordedDetector]) -> None:
    data = unprepared(videos, source=str(videos[0] / "ann"), val_fraction=0.5)
    with pytest.raises(ValueError, match="too few for a `val` split"):
        data.setup("fit")
    data.setup("predict")
    assert set(data.clips) == {"predict"}


def test_validation_alone_has_the_clips_of_the_whole_run(
    videos: tuple[Path, RecordedDetector],
) -> None:
    alone, whole = (unprepared(videos, val_fraction=0.4) for _ in range(2))
    alone.setup("validate")
    whole.setup("fit")
    assert set(alone.clips) == {"val"}
    names = [[(e.video, e.start) for e in d.clips["val"].entries] for d in (alone, whole)]
    assert names[0] == names[1]


def test_videos_are_read_once(
    videos: tuple[Path, RecordedDetector], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = unprepared(videos, val_fraction=0.4)
    data.prepare_data()
    monkeypatch.setattr(datamodule, "VideoReader", lambda *_, **__: pytest.fail("opened again"))
    data.setup("fit")
    data.setup("validate")


def test_evaluating_on_what_was_trained_on_is_refused(
    videos: tuple[Path, RecordedDetector],
) -> None:
    trained = unprepared(videos, val_fraction=0.3)
    trained.setup("fit")
    state = trained.state_dict()
    assert str(videos[0]) not in str(state)
    again = unprepared(videos, val_fraction=0.3)
    again.setup("validate")
    again.load_state_dict(state)
    wider = unprepared(videos, val_fraction=0.3, test_fraction=0.65)
    wider.setup("test")
    with pytest.raises(ValueError, match=r"of the `test` split were trained on"):
        wider.load_state_dict(state)


def test_other_part_of_a_video_than_the_one_held_out_is_refused(
    videos: tuple[Path, RecordedDetector],
) -> None:
    trained, same, other = (
        unprepared(videos, split_by="time", val_fraction=fraction) for fraction in (0.3, 0.3, 0.6)
    )
    trained.setup("fit")
    state = trained.state_dict()
    same.setup("validate")
    same.load_state_dict(state)
    other.setup("validate")
    with pytest.raises(ValueError, match=r"trained on .*Keep `split_by`"):
        other.load_state_dict(state)


def test_fewer_held_out_clips_than_processes(make: Any) -> None:
    data = on_rank(make(split_by="time", val_fraction=0.25, max_eval_clips=1), 2, 0)
    with pytest.raises(ValueError, match=r"1 clips in the `val` split are too few for 2 processes"):
        data.val_dataloader()


def test_pictures_are_clips_of_one_frame(tmp_path: Path) -> None:
    clip = synthetic_clip(n_frames=2, size=SIZE)
    for number, frame in enumerate(clip.frames):
        cv2.imwrite(str(tmp_path / f"{number}.png"), frame[..., ::-1])
    box = (*clip.boxes[0].tolist(),)

    class Always:
        name = "always"

        def __call__(self, frames: list[Any]) -> list[list[Detection]]:
            return [[Detection(box, 0.9)] for _ in frames]

    options: dict[str, Any] = {"detector": Always(), "val_fraction": 0.0, "batch_size": 1}
    data = VideoClipDataModule(str(tmp_path), clip_length=1, image_size=32, **options)
    data.cache_dir = tmp_path / "cache"
    data.setup("fit")
    assert [clip["clip"].shape for clip in data.clips["train"]] == [(1, 3, 32, 32)] * 2
    with pytest.raises(ValueError, match="`clip_length: 1` only"):
        VideoClipDataModule(str(tmp_path), clip_length=2, **options).setup("fit")
