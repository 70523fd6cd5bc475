from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.privacy import mutated_videos
from benchmarks.privacy.mutated_videos import make_clip, mutate, treat
from dp3_lightning.anonymize import Plan


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return make_clip(tmp_path / "clip.mp4", *mutated_videos.KINDS["mp4"])


def test_a_sound_clip_is_done_and_a_careless_tool_is_caught(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert treat(clip, tmp_path / "out.mp4") == ("done", "")

    def nothing(plan: Plan, frame: int) -> list[Any]:
        return []

    monkeypatch.setattr(Plan, "boxes_at", nothing)
    monkeypatch.setattr(mutated_videos, "CheckOptions", lambda **_: unchecked)
    verdict, detail = treat(clip, tmp_path / "careless.mp4")
    assert verdict == "face left"
    assert "frames [0, 1" in detail


unchecked = mutated_videos.CheckOptions(identity_check="off", verify=False)


@pytest.mark.parametrize("hand", mutated_videos.HANDS)
def test_damage_is_damage_and_the_same_for_a_seed(clip: Path, tmp_path: Path, hand: str) -> None:
    for name in ("a.mp4", "b.mp4"):
        mutate(clip, tmp_path / name, hand, np.random.default_rng(5))
    made = (tmp_path / "a.mp4").read_bytes()
    assert made == (tmp_path / "b.mp4").read_bytes()
    assert made != clip.read_bytes()
