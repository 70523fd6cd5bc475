from pathlib import Path

import numpy as np
import pytest

from dp3_lightning.faces.analysis import VideoAnalysis, analyze
from dp3_lightning.structures import Detection, UInt8Array
from dp3_lightning.video import VideoReader, write_video

PATCH = (32, 16, 96, 64)  # x0, y0, x1, y1


class Nobody:
    name = "nobody"

    def __call__(self, frames: list[UInt8Array]) -> list[list[Detection]]:
        return [[] for _ in frames]


def jumps_of(path: Path, frames: list[UInt8Array], **options: str) -> VideoAnalysis:
    params = {"x264-params": "keyint=12:min-keyint=12:scenecut=0:bframes=2"} | options
    write_video(path, frames, 25, crf=10, encoder_options=params)
    return analyze(VideoReader(path), Nobody())


def frames_with_patch(first: int, last: int = 30, level: int = 200) -> list[UInt8Array]:
    rng = np.random.default_rng(0)
    plain = rng.integers(80, 120, (96, 128, 3)).astype(np.uint8)
    frames = [plain.copy() for _ in range(30)]
    for frame in frames[first:last]:
        frame[PATCH[1] : PATCH[3], PATCH[0] : PATCH[2]] = level
    return frames


def test_sudden_change_between_key_frames_is_a_jump(tmp_path: Path) -> None:
    found = jumps_of(tmp_path / "a.mp4", frames_with_patch(17))
    assert [jump[0] for jump in found.jumps] == [17]
    np.testing.assert_allclose(found.jumps[0][1:], PATCH, atol=8)
    assert found.breaks == []


def test_change_at_a_key_frame_is_a_cut_at_most(tmp_path: Path) -> None:
    assert jumps_of(tmp_path / "a.mp4", frames_with_patch(12)).jumps == []


def test_encoder_that_codes_a_cut_by_itself_gives_no_jump(tmp_path: Path) -> None:
    frames = [np.full((96, 128, 3), 200 if i < 17 else 40, np.uint8) for i in range(30)]
    params = {"x264-params": "keyint=250:min-keyint=1:scenecut=40"}
    found = jumps_of(tmp_path / "a.mp4", frames, **params)
    assert (found.breaks, found.jumps) == ([17], [])


@pytest.mark.parametrize("name", ["a.gif", "a.mp4"])
def test_small_changes_and_gifs_give_none(tmp_path: Path, name: str) -> None:
    if name == "a.mp4":
        assert jumps_of(tmp_path / name, frames_with_patch(17, level=112)).jumps == []
        return
    from PIL import Image

    pictures = [Image.fromarray(f) for f in frames_with_patch(17)[::4]]
    pictures[0].save(tmp_path / name, save_all=True, append_images=pictures[1:], duration=40)
    assert analyze(VideoReader(tmp_path / name), Nobody()).jumps == []
