import pickle
import warnings
from pathlib import Path

import av
import numpy as np
import pytest
from numbered_clips import B_FRAMES, Options, damage, encode, read_number, remux

from dp3_lightning.video import FrameUnavailableError, UnreadableVideoError, VideoReader


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return encode(tmp_path / "clip.mp4", options=B_FRAMES)


@pytest.mark.parametrize("options", [{"movflags": "frag_keyframe+empty_moov"}, None])
def test_truncated_file_gives_what_is_left(clip: Path, tmp_path: Path, options: Options) -> None:
    name = "cut.mp4" if options else "cut.mkv"
    whole = remux(clip, tmp_path / f"whole_{name}", options=options)
    path = tmp_path / name
    path.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * 0.7)])
    reader = VideoReader(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        numbers = {i: read_number(frame) for i, frame in reader.iter_indexed()}
    assert 12 <= len(numbers) < 40
    assert list(range(12)) == [numbers[i] for i in range(12)]
    for index in set(range(len(reader))) - set(numbers):
        with pytest.raises(FrameUnavailableError):
            reader[index]


def test_header_that_announces_more_than_the_file_holds(clip: Path, tmp_path: Path) -> None:
    whole = remux(clip, tmp_path / "whole.mp4", options={"movflags": "faststart"})
    path = tmp_path / "cut.mp4"
    path.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * 0.8)])
    reader = VideoReader(path)
    with pytest.warns(RuntimeWarning, match=r"cut\.mp4.* of 40 frames") as caught:
        kept = [i for i, _ in reader.iter_indexed()]
    assert f"{40 - len(kept)} of 40" in str(caught[0].message)
    assert 0 < len(kept) < 40


def test_damaged_middle_loses_its_frames_and_nothing_else(clip: Path, tmp_path: Path) -> None:
    # Packet 12 is the second keyframe, 24 the third.
    path = damage(clip, tmp_path / "damaged.mp4", range(14, 18))
    reader = VideoReader(path)
    assert len(reader) == 40
    with pytest.warns(RuntimeWarning, match=r"damaged\.mp4") as caught:
        numbers = {i: read_number(frame) for i, frame in reader.iter_indexed()}
    lost = set(range(40)) - set(numbers)
    assert lost
    assert lost <= set(range(12, 24))
    assert all(index == number for index, number in numbers.items())
    assert f" {len(lost)} of 40 frames" in str(caught[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [read_number(frame) for frame in reader] == list(numbers.values())
    for index in (*range(39, -1, -1), *lost):
        if index in lost:
            with pytest.raises(FrameUnavailableError, match=rf"Frame {index} of .*damaged\.mp4"):
                VideoReader(path)[index]
        else:
            assert read_number(reader[index]) == index


def test_damaged_keyframe_never_shows_another_time(clip: Path, tmp_path: Path) -> None:
    reader = VideoReader(damage(clip, tmp_path / "damaged.mp4", [12]))
    with pytest.warns(RuntimeWarning):
        numbers = {i: read_number(frame) for i, frame in reader.iter_indexed()}
    assert set(range(40)) - set(numbers) >= set(range(12, 23))
    assert all(index == number for index, number in numbers.items())
    assert read_number(VideoReader(reader.path)[24]) == 24


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"absent\.mp4"):
        VideoReader(tmp_path / "absent.mp4")


def write_audio(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.mark.parametrize("kind", ["no moov", "empty", "text", "audio only", "folder", "no frames"])
def test_unreadable_files_name_path_and_remedy(clip: Path, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "bad.mp4"
    if kind == "folder":
        path.mkdir()
    elif kind == "audio only":
        write_audio(path)
    elif kind == "no frames":
        damage(clip, path, range(40))
    else:
        content = {"no moov": clip.read_bytes()[:1500], "empty": b"", "text": b"no video" * 99}
        path.write_bytes(content[kind])
    with pytest.raises(UnreadableVideoError, match=r"bad\.mp4.*convert it again") as caught:
        VideoReader(path)
    if kind == "audio only":
        assert "no video stream" in str(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_keyframe_before_damage_is_kept(clip: Path, tmp_path: Path) -> None:
    reader = VideoReader(damage(clip, tmp_path / "damaged.mp4", [13]))
    assert read_number(reader[12]) == 12
    with pytest.raises(FrameUnavailableError):
        reader[16]
