from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.video.reformatter import VideoReformatter

from dp3_lightning.anonymize import Drawing, encoding, plan_video, video_job
from dp3_lightning.anonymize import job as job_module
from dp3_lightning.anonymize.manifest import manifest_path, read_manifest
from dp3_lightning.anonymize.video_job import VideoJob
from dp3_lightning.generators import SolidGenerator
from dp3_lightning.structures import Detection, UInt8Array
from dp3_lightning.video import UnreadableVideoError, VideoReader, write_video
from dp3_lightning.video.color import ColorTags, rgb_to_picture
from tests.anonymize.anonymize_fixtures import (
    HEIGHT,
    SIDE,
    WIDTH,
    Box,
    Failing,
    Faulty,
    SquareDetector,
    Styled,
    decoded,
    done,
    draw_frames,
    leftovers,
    moving,
    number_of,
    painted_pixels,
    run,
    settings,
    square,
    tiny32,
    with_sound,
    write_clip,
)
from tests.video.numbered_clips import damage, remux

ROOT = Path(__file__).parents[2]


def record_of(output: Path) -> dict[str, Any]:
    record = read_manifest(output)
    assert record is not None
    return record


def hidden(output: Path, n_frames: int) -> list[UInt8Array]:
    """The frames of an output, after checking that there are enough and no face is in them."""
    frames = decoded(output)
    assert len(frames) == n_frames
    assert not any(painted_pixels(f).any() for f in frames)
    return frames


@pytest.mark.parametrize("generator", ["blur", "pixelate", "solid", "network"])
def test_every_face_of_a_video_is_replaced(tmp_path: Path, generator: str) -> None:
    source = write_clip(tmp_path / "in.mp4", moving(20))
    before = source.read_bytes()
    output = tmp_path / "out.mp4"
    chosen = tiny32() if generator == "network" else generator
    outcome = run(source, output, chosen)
    frames = hidden(output, 20)
    real = draw_frames(moving(20))
    for i, frame in enumerate(frames):
        rest = frame[50:].astype(int) - real[i][50:]
        assert np.abs(rest).mean() < 2
        assert number_of(frame) == i
    assert outcome.exit_code == 0
    assert source.read_bytes() == before
    assert leftovers(tmp_path) == []
    assert done(source, output)
    record = record_of(output)
    (track,) = record["tracks"]
    assert track["action"] == ("generate" if generator == "network" else generator)
    assert track["frames"] == {"detected": 20}
    assert record["failures"] == []
    assert record["verify"]["frames_checked"] == 20
    assert record["frames"]["n_frames"] == 20
    assert (record["faces"]["drawn"] > 0) == (generator == "network")


def test_a_video_without_faces_keeps_its_pictures(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mp4", [[]] * 12)
    outcome = run(source, tmp_path / "out.mp4", SolidGenerator((32, 32)))
    frames = hidden(tmp_path / "out.mp4", 12)
    for frame, real in zip(frames, decoded(source), strict=True):
        assert np.abs(frame.astype(int) - real).mean() < 2
    assert outcome.safe
    record = record_of(tmp_path / "out.mp4")
    assert record["tracks"] == []
    assert record["faces"] == {
        "drawn": 0, "carried": 0, "people_refused_as_too_alike": {},
        "weak_blurred": [], "weak_ignored": {},
    }  # fmt: skip


def test_a_file_without_its_index_is_refused(tmp_path: Path) -> None:
    whole = write_clip(tmp_path / "whole.mp4", moving(20))
    source = tmp_path / "in.mp4"
    source.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(UnreadableVideoError, match=r"in\.mp4.*cut off"):
        run(source, tmp_path / "out.mp4")
    assert not (tmp_path / "out.mp4").exists()
    assert leftovers(tmp_path) == []


@pytest.mark.filterwarnings("ignore:.*is damaged")
def test_of_a_cut_off_file_the_rest_is_anonymized_and_the_loss_reported(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", moving(30))
    whole = remux(clip, tmp_path / "whole.mp4", options={"movflags": "faststart"})
    source = tmp_path / "in.mp4"
    source.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * 0.7)])
    left = len(VideoReader(source))
    assert 0 < left < 30
    outcome = run(source, tmp_path / "out.mp4")
    hidden(tmp_path / "out.mp4", left)
    assert outcome.missing_tail == 30 - left
    assert record_of(tmp_path / "out.mp4")["frames"]["missing_at_the_end"] == 30 - left


@pytest.mark.filterwarnings("ignore:.*is damaged")
def test_of_a_cut_off_matroska_file_the_rest_is_anonymized(tmp_path: Path) -> None:
    whole = write_clip(tmp_path / "whole.mkv", moving(30))
    source = tmp_path / "in.mkv"
    source.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * 0.6)])
    left = len(VideoReader(source))
    assert 3 < left < 30
    run(source, tmp_path / "out.mkv")
    hidden(tmp_path / "out.mkv", left)


def sound_of(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        streams = container.streams.audio
        return [bytes(p) for s in streams[:1] for p in container.demux(s) if p.size]


@pytest.mark.parametrize("audio", ["drop", "copy"])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_sound_longer_than_the_pictures(tmp_path: Path, suffix: str, audio: str) -> None:
    clip = write_clip(tmp_path / "clip.mp4", moving(15))  # 1.5 s
    source = with_sound(clip, tmp_path / f"in{suffix}", 4.0)
    assert len(sound_of(source)) > 50
    output = tmp_path / f"out{suffix}"
    run(source, output, audio=audio)
    hidden(output, 15)
    expected = sound_of(source) if audio == "copy" else []
    assert sound_of(output) == expected
    assert record_of(output)["settings"]["output"]["audio"] == audio


def test_sound_is_dropped_unless_asked_for(tmp_path: Path) -> None:
    assert settings().output.audio == "drop"
    source = with_sound(write_clip(tmp_path / "c.mp4", moving(5)), tmp_path / "in.mp4", 0.5)
    run(source, tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert [s.type for s in container.streams] == ["video"]


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm", ".avi", ".gif"])
def test_a_video_of_one_frame(tmp_path: Path, suffix: str) -> None:
    source = write_clip(tmp_path / "in.mp4", [[square(30)]])
    output = tmp_path / f"out{suffix}"
    run(source, output, SolidGenerator((32, 32)))
    hidden(output, 1)


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm", ".gif", ".ts"])
def test_frames_keep_their_number_in_every_container(tmp_path: Path, suffix: str) -> None:
    source = write_clip(tmp_path / "in.mp4", moving(12))
    output = tmp_path / f"out{suffix}"
    run(source, output, "solid")
    for i, frame in enumerate(hidden(output, 12)):
        assert abs(number_of(frame) - i) <= (1 if suffix == ".gif" else 0)


def test_a_gif_whose_pictures_repeat_keeps_all_of_them(tmp_path: Path) -> None:
    still = draw_frames([[square(30)]])[0]
    source = write_video(tmp_path / "in.mp4", [still] * 8, 10, lossless=True)
    run(source, tmp_path / "out.gif", "solid")
    hidden(tmp_path / "out.gif", 8)


@pytest.mark.parametrize("size", [(65, 97), (64, 97), (65, 96)])
def test_odd_sizes_stay(tmp_path: Path, size: tuple[int, int]) -> None:
    source = write_clip(tmp_path / "in.mp4", moving(6), size=size)
    run(source, tmp_path / "out.mp4", SolidGenerator((32, 32)))
    frames = hidden(tmp_path / "out.mp4", 6)
    assert {f.shape for f in frames} == {(*size, 3)}


def test_a_change_of_size_in_mid_stream(tmp_path: Path) -> None:
    parts = []
    for number, size in enumerate([(64, 96), (80, 128)]):
        faces: list[list[Box]] = [[square(20 + i)] for i in range(10)]
        frames = draw_frames(faces, *size)
        clip = write_video(tmp_path / f"{number}.mp4", frames, 10, crf=1, pix_fmt="yuv444p")
        parts.append(remux(clip, tmp_path / f"{number}.ts").read_bytes())
    source = tmp_path / "in.ts"
    source.write_bytes(b"".join(parts))
    reader = VideoReader(source)
    sizes = set()
    with av.open(str(source)) as container:
        sizes = {(f.height, f.width) for f in container.decode(video=0)}
    assert sizes == {(64, 96), (80, 128)}  # the file is what this test is about
    output = tmp_path / "out.mp4"
    run(source, output, SolidGenerator((32, 32)))
    frames = hidden(output, len(reader))
    assert len(frames) >= 18
    assert {f.shape[:2] for f in frames} == {reader.size}


KEYS = {"x264-params": "keyint=10:min-keyint=10:scenecut=0:bframes=0"}


@pytest.mark.filterwarnings("ignore:.*is damaged")
def test_frames_that_cannot_be_decoded_are_repeated_and_reported(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", moving(40), encoder_options=KEYS)
    source = damage(clip, tmp_path / "in.mp4", [13])
    lost = [i for i in range(40) if not available(source, i)]
    assert lost
    assert set(lost) <= set(range(10, 20))
    outcome = run(source, tmp_path / "out.mp4", SolidGenerator((32, 32)))
    frames = hidden(tmp_path / "out.mp4", 40)
    assert outcome.repeated == lost
    assert record_of(tmp_path / "out.mp4")["frames"]["undecodable_repeated"] == lost
    assert VideoReader(tmp_path / "out.mp4").times == VideoReader(clip).times
    for i, frame in enumerate(frames):
        shown = i if i not in lost else max(k for k in range(i) if k not in lost)
        assert number_of(frame) == shown


def available(path: Path, index: int) -> bool:
    try:
        VideoReader(path).frame(index)
    except ValueError:
        return False
    return True


@pytest.mark.filterwarnings("ignore:.*is damaged")
def test_a_lost_frame_at_the_begin_of_a_stretch_repeats_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video_job, "_STRETCH_FRAMES", 10)
    clip = write_clip(tmp_path / "clip.mp4", moving(40), encoder_options=KEYS)
    source = damage(clip, tmp_path / "in.mp4", [20])  # a keyframe
    assert not available(source, 20)
    outcome = run(source, tmp_path / "out.mp4", SolidGenerator((32, 32)))
    frames = hidden(tmp_path / "out.mp4", 40)
    assert 20 in outcome.repeated
    assert np.abs(frames[20].astype(int) - frames[19]).mean() < 2


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_a_variable_frame_rate_is_kept_exactly(tmp_path: Path, suffix: str) -> None:
    rng = np.random.default_rng(0)
    pts = np.cumsum(rng.integers(20, 90, 25)).tolist()
    source = write_clip(tmp_path / "in.mp4", moving(25), pts=pts, time_base=Fraction(1, 1000))
    output = tmp_path / f"out{suffix}"
    run(source, output)
    hidden(output, 25)
    assert VideoReader(output).times == VideoReader(source).times


def test_a_variable_frame_rate_is_kept_over_stretches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video_job, "_STRETCH_FRAMES", 7)
    pts = np.cumsum(np.random.default_rng(1).integers(20, 90, 25)).tolist()
    source = write_clip(tmp_path / "in.mp4", moving(25), pts=pts, time_base=Fraction(1, 1000))
    for suffix in (".mp4", ".mkv"):
        output = tmp_path / f"out{suffix}"
        run(source, output)
        assert [number_of(f) for f in hidden(output, 25)] == list(range(25))
        for found, wanted in zip(VideoReader(output).times, VideoReader(source).times, strict=True):
            assert abs(found - wanted) <= (0 if suffix == ".mp4" else Fraction(1, 1000))


@pytest.mark.parametrize("rotation", [90, 180])
def test_a_rotated_video_comes_out_upright(tmp_path: Path, rotation: int) -> None:
    clip = write_clip(tmp_path / "clip.mp4", moving(6))
    source = remux(clip, tmp_path / "in.mp4", rotation=rotation)
    upright = decoded(source)
    assert np.array_equal(upright[0], np.rot90(decoded(clip)[0], rotation // 90))
    output = tmp_path / "out.mp4"
    run(source, output)
    frames = hidden(output, 6)
    with av.open(str(output)) as container:
        assert next(container.decode(video=0)).rotation == 0
    for frame, real in zip(frames, upright, strict=True):
        assert frame.shape == real.shape
        rest = ~painted_pixels(real)
        assert np.abs(frame.astype(int) - real)[rest].mean() < 8


def ten_bits(path: Path, transfer: int | None = None) -> Path:
    frames = draw_frames([[(30.0, 22.0, 50.0, 42.0)]] * 5)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"qp": "0"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p10le"
        if transfer is not None:
            stream.codec_context.color_trc = transfer
        for frame in frames:
            picture = rgb_to_picture(VideoReformatter(), frame, "yuv420p10le", ColorTags(2, 2, 2))
            if transfer is not None:
                picture.color_trc = transfer
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


def test_ten_bits_are_refused_with_the_reason_or_converted(tmp_path: Path) -> None:
    source = ten_bits(tmp_path / "in.mp4")
    output = tmp_path / "out.mp4"
    with pytest.raises(ValueError, match=r"10 bits per colour.*deep_color convert"):
        run(source, output)
    assert not output.exists()
    run(source, output, deep_color="convert")
    hidden(output, 5)
    assert VideoReader(output).bit_depth == 8
    assert len(record_of(output)["tracks"]) == 1


def test_high_dynamic_range_is_refused_always(tmp_path: Path) -> None:
    source = ten_bits(tmp_path / "in.mp4", transfer=16)
    with pytest.raises(ValueError, match="high dynamic range"):
        run(source, tmp_path / "out.mp4", deep_color="convert")


@pytest.mark.parametrize("generator", ["blur", "network"])
def test_a_face_that_leaves_the_frame(tmp_path: Path, generator: str) -> None:
    faces: list[list[Box]] = [[square(60 + 2.3 * i, 40 + i)] for i in range(15)]
    source = write_clip(tmp_path / "in.mp4", faces)
    chosen = SolidGenerator((32, 32)) if generator == "network" else generator
    run(source, tmp_path / "out.mp4", chosen, min_generate_size=2)
    hidden(tmp_path / "out.mp4", 15)


def test_where_the_detector_fails_the_whole_frame_is_blurred_and_it_is_said(
    tmp_path: Path,
) -> None:
    source = write_clip(tmp_path / "in.mp4", moving(12))
    output = tmp_path / "out.mp4"
    outcome = run(source, output, SolidGenerator((32, 32)), Failing([5]))
    frames = hidden(output, 12)
    real = draw_frames(moving(12))
    changed = [
        np.abs(f[50:].astype(int) - r[50:]).mean() > 4 for f, r in zip(frames, real, strict=True)
    ]
    assert changed == [i == 5 for i in range(12)]
    assert record_of(output)["frames"]["detector_failed_blurred"] == [5]
    assert outcome.safe
    assert record_of(output)["verify"]["frames_checked"] == 11  # not in a frame that it cannot see


def test_a_detector_that_always_fails_is_an_error(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mp4", moving(6))
    with pytest.raises(ValueError, match=r"in every frame.*the detector is broken"):
        run(source, tmp_path / "out.mp4", "blur", Failing())
    assert not (tmp_path / "out.mp4").exists()
    run(source, tmp_path / "out.mp4")  # and nothing of it is remembered
    hidden(tmp_path / "out.mp4", 6)


@pytest.mark.parametrize("how", ["raise", "nan"])
def test_a_generator_that_fails_leaves_blurred_faces(tmp_path: Path, how: str) -> None:
    source = write_clip(tmp_path / "in.mp4", moving(12))
    output = tmp_path / "out.mp4"
    outcome = run(source, output, Faulty(lambda call, face: True, how))
    hidden(output, 12)
    assert {f.frame for f in outcome.failures} == set(range(12))
    assert outcome.n_drawn == 0
    record = record_of(output)
    assert {f["frame"] for f in record["failures"]} == set(range(12))
    assert outcome.exit_code == 0  # blurred: no face is left


def test_the_original_is_never_written_over(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mp4", moving(3))
    link = tmp_path / "link.mp4"
    link.symlink_to(source)
    hard = tmp_path / "hard.mp4"
    os.link(source, hard)
    before = source.read_bytes()
    folder = tmp_path / "folder"
    folder.mkdir()
    for output in (source, link, hard, folder / ".." / "in.mp4"):
        with pytest.raises(ValueError, match="is the input"):
            run(source, output, overwrite=True)
    with pytest.raises(ValueError, match="is the input"):
        run(link, source, overwrite=True)
    assert source.read_bytes() == before


def test_an_existing_output_is_refused_or_replaced(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mp4", moving(5))
    output = tmp_path / "out.mp4"
    output.write_bytes(b"something else")
    with pytest.raises(FileExistsError, match=r"out\.mp4.*--overwrite"):
        run(source, output)
    assert output.read_bytes() == b"something else"
    run(source, output, overwrite=True)
    hidden(output, 5)


def test_an_output_that_is_replaced_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mp4", moving(5))
    output = tmp_path / "out.mp4"
    output.write_bytes(b"something else")
    with pytest.raises(ValueError, match=r"in every frame.*detector is broken"):
        run(source, output, "blur", Failing(), overwrite=True)
    assert output.read_bytes() == b"something else"


@pytest.mark.parametrize(
    "name", ["two words.mp4", "ürlaub 名前 é.mp4", "a'b\"c;$(x)%d%.mp4", "-x.mp4"]
)
def test_any_file_name(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "a folder ñ [1]"
    folder.mkdir()
    source = write_clip(folder / "in.mp4", moving(4)).rename(folder / name)
    output = folder / f"out {name}"
    run(source, output)
    hidden(output, 4)
    assert manifest_path(output).name == f"out {name}.dp3.json"
    assert leftovers(folder) == []


def test_names_that_look_like_a_numbered_sequence_or_protocol(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mp4", moving(4)).rename(tmp_path / "clip%03d:x.mp4")
    run(source, tmp_path / "out%03d:x.mp4")
    hidden(tmp_path / "out%03d:x.mp4", 4)


def test_a_missing_output_folder_is_named(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mp4", moving(3))
    with pytest.raises(FileNotFoundError, match=r"No folder .*nowhere"):
        run(source, tmp_path / "nowhere" / "out.mp4")
    with pytest.raises(FileNotFoundError, match=r"absent\.mp4"):
        run(tmp_path / "absent.mp4", tmp_path / "out.mp4")


@contextmanager
def largest_file(n_bytes: int) -> Iterator[None]:
    """As a full disk: writing beyond that many bytes of a file fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, previous)


@pytest.mark.parametrize("where", ["stretch", "join"])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_full_disk_leaves_no_output_and_the_run_can_go_on(
    tmp_path: Path, suffix: str, where: str
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (30, HEIGHT, WIDTH, 3), dtype=np.uint8)
    clip = write_video(tmp_path / "clip.mp4", noise if where == "stretch" else noise[:1], 10)
    source = with_sound(clip, tmp_path / f"in{suffix}", 20.0)
    output = tmp_path / f"out{suffix}"
    with pytest.raises(OSError, match=r"(?i)too large|no space"), largest_file(20_000):
        run(source, output, audio="copy")
    assert not output.exists()
    assert not manifest_path(output).exists()
    assert not [name for name in leftovers(tmp_path) if not name.endswith(".dp3work")]
    stored = [p.name for p in (tmp_path / f".{output.name}.dp3work").iterdir()]
    assert (stored.count("stretch-00000.nut") == 1) == (where == "join")
    assert not [name for name in stored if "partial" in name or name.endswith(".tmp")]
    run(source, output, audio="copy")
    assert len(decoded(output)) == len(VideoReader(source))
    assert leftovers(tmp_path) == []


SCRIPT = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from dp3_lightning.anonymize import video_job
from tests.anonymize.anonymize_fixtures import KillsIn, SquareDetector, Styled, run
video_job._STRETCH_FRAMES = 10
folder, place = Path(sys.argv[1]), sys.argv[2]
detector = KillsIn(35) if place == "plan" else SquareDetector()
generator = Styled(kill_after=25 if place == "render" else 0)
run(folder / "in.mp4", folder / "out.mp4", generator, detector, propagation="off", truncation=1)
"""


def killed_run(folder: Path, place: str) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder), place],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert result.returncode == -signal.SIGKILL, result.stderr[-2000:]


def face_colors(frames: list[UInt8Array], faces: list[list[Box]]) -> np.ndarray:
    """Mean colour in the middle of each face."""
    colors = []
    for frame, ((x0, y0, *_),) in zip(frames, faces, strict=True):
        x, y = int(x0 + SIDE / 2), int(y0 + SIDE / 2)
        colors.append(frame[y - 4 : y + 4, x - 4 : x + 4].astype(float).mean(axis=(0, 1)))
    return np.array(colors)


def test_a_run_killed_while_planning_leaves_nothing_and_can_be_repeated(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mp4", moving(45))
    output = tmp_path / "out.mp4"
    killed_run(tmp_path, "plan")
    assert not output.exists()
    assert not manifest_path(output).exists()
    run(source, output, Styled(), propagation="off", truncation=1)
    hidden(output, 45)
    assert leftovers(tmp_path) == []


def test_a_run_killed_while_rendering_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video_job, "_STRETCH_FRAMES", 10)
    source = write_clip(tmp_path / "in.mp4", moving(45))
    output = tmp_path / "out.mp4"
    killed_run(tmp_path, "render")
    assert not output.exists()
    assert not manifest_path(output).exists()
    work = tmp_path / ".out.mp4.dp3work"
    assert oct(work.stat().st_mode & 0o777) == "0o700"
    assert oct((work / "run.json").stat().st_mode & 0o777) == "0o600"
    # No original pixel in what was left, finished or not.
    stored = sorted(work.glob("*.nut"))
    assert len(stored) >= 2
    for path in stored:
        assert not any(painted_pixels(frame).any() for frame in decoded(path))
    assert {p.suffix for p in work.iterdir()} <= {".nut", ".json"}
    finished = {p.name: p.stat().st_mtime_ns for p in stored if p.with_suffix(".json").exists()}
    assert {"stretch-00000.nut", "stretch-00001.nut"} <= set(finished)
    kept: dict[str, int] = {}
    joined = encoding.join_stretches

    def join(path: Path, stretches: list[Path], *rest: Any) -> Path:
        kept.update({p.name: p.stat().st_mtime_ns for p in stretches})
        return joined(path, stretches, *rest)

    monkeypatch.setattr(encoding, "join_stretches", join)
    generator = Styled()
    outcome = run(source, output, generator, propagation="off", truncation=1)
    assert {name: kept[name] for name in finished} == finished
    # One face a frame, and the frame that a stretch shares with the next.
    assert generator.n_drawn <= 45 - 10 * len(finished) + 5 - len(finished)
    frames = hidden(output, 45)
    assert [number_of(f) for f in frames] == list(range(45))
    colors = face_colors(frames, moving(45))
    assert np.ptp(colors, axis=0).max() < 30  # one person, one face, before and after
    assert outcome.n_drawn >= 45
    assert outcome.n_checked == 45
    assert leftovers(tmp_path) == []


def job(source: Path, output: Path, generator: Any, **options: Any) -> VideoJob:
    drawing, plan = Drawing.prepare(generator), options.pop("plan", None)
    cache = output.parent / "cache"
    chosen = settings(**options)
    return VideoJob(source, output, drawing, chosen, SquareDetector(), plan, cache)


def interrupted(source: Path, output: Path, generator: Styled, **options: Any) -> None:
    """A run that ends after its second stretch, as if the user pressed Ctrl-C."""
    work = job(source, output, generator, **options)

    def stop(stage: str, done: int, total: int) -> None:
        if (
            stage == "render"
            and (output.parent / f".{output.name}.dp3work/stretch-00001.json").exists()
        ):
            raise KeyboardInterrupt

    work.progress = stop
    with pytest.raises(KeyboardInterrupt):
        work.run()


def test_an_interrupted_run_keeps_its_secret_and_a_new_run_has_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video_job, "_STRETCH_FRAMES", 10)
    source = write_clip(tmp_path / "in.mp4", moving(30))
    options: dict[str, Any] = {"propagation": "off", "truncation": 1, "color_match": False}
    colors = []
    for name in ("a.mp4", "b.mp4"):
        interrupted(source, tmp_path / name, Styled(), **options)
        secret = json.loads((tmp_path / f".{name}.dp3work/run.json").read_text())["secret"]
        assert len(bytes.fromhex(secret)) == 32
        generator = Styled()
        run(source, tmp_path / name, generator, **options)
        assert generator.n_drawn == 10
        colors.append(face_colors(hidden(tmp_path / name, 30), moving(30)))
        assert np.ptp(colors[-1], axis=0).max() < 12
        assert secret not in manifest_path(tmp_path / name).read_text()
    assert np.abs(colors[0].mean(axis=0) - colors[1].mean(axis=0)).max() > 1


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"seed": 1}, {"seed": 2}),
        ({"pseudonym_key": "first long secret"}, {"pseudonym_key": "other long secret"}),
        ({"seed": 1, "feather": 0.0}, {"seed": 1, "feather": 0.1}),
    ],
    ids=["seed", "pseudonym key", "feather"],
)
def test_stretches_of_a_run_with_other_choices_are_not_used(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    first: dict[str, Any],
    second: dict[str, Any],
) -> None:
    monkeypatch.setattr(video_job, "_STRETCH_FRAMES", 10)
    source = write_clip(tmp_path / "in.mp4", moving(30))
    plan = plan_video(source, SquareDetector(), cache=tmp_path / "cache")
    plan.tracks[0].person = "alice"  # named by a person, so that the key counts
    options: dict[str, Any] = {"propagation": "off", "truncation": 1, "plan": plan}
    interrupted(source, tmp_path / "out.mp4", Styled(), **options, **first)
    generator = Styled()
    run(source, tmp_path / "out.mp4", generator, **options, **second)
    assert generator.n_drawn >= 30
    colors = face_colors(hidden(tmp_path / "out.mp4", 30), moving(30))
    assert np.ptp(colors, axis=0).max() < 12  # one person, one face


def test_a_damaged_work_folder_is_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video_job, "_STRETCH_FRAMES", 10)
    source = write_clip(tmp_path / "in.mp4", moving(30))
    options: dict[str, Any] = {"propagation": "off", "truncation": 1}
    work = tmp_path / ".out.mp4.dp3work"
    edits: list[Callable[[], object]] = [
        lambda: (work / "stretch-00001.json").write_text('{"key": '),
        lambda: (work / "stretch-00000.nut").unlink(),
        lambda: (work / "plan.json").write_text("{}"),
        lambda: (work / "run.json").write_text("[]"),
        lambda: (work / ".stretch-00002.0ab.partial.nut").write_bytes(b"half"),
    ]
    for number, edit in enumerate(edits):
        interrupted(source, tmp_path / "out.mp4", Styled(), **options)
        edit()
        run(source, tmp_path / "out.mp4", Styled(), **options)
        frames = hidden(tmp_path / "out.mp4", 30)
        assert np.ptp(face_colors(frames, moving(30)), axis=0).max() < 30, number
        assert leftovers(tmp_path) == []
        (tmp_path / "out.mp4").unlink()


def test_a_finished_output_whose_manifest_is_missing_is_finished_by_a_rerun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between the last two steps: the next run must not need --overwrite."""
    source = write_clip(tmp_path / "in.mp4", moving(10))
    output = tmp_path / "out.mp4"

    def killed(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(job_module, "write_manifest", killed)
        with pytest.raises(KeyboardInterrupt):
            run(source, output)
    run(source, output)
    assert done(source, output)
    assert leftovers(tmp_path) == []


def test_metadata_does_not_get_into_the_output(tmp_path: Path) -> None:
    for suffix in (".mp4", ".mkv", ".mov"):
        clip = write_clip(tmp_path / "clip.mp4", moving(5))
        source = with_sound(clip, tmp_path / f"in{suffix}", 0.5, metadata=True)
        with av.open(str(source)) as container:
            assert container.metadata["title"] == "SECRETTITLE"
            assert any("48.1173" in value for value in container.metadata.values())
        output = tmp_path / f"out{suffix}"
        run(source, output, audio="copy")
        content = output.read_bytes()
        for secret in (b"SECRET", b"48.1173", b"in" + suffix.encode()):
            assert secret not in content
        with av.open(str(output)) as container:
            known = str(container.metadata) + str([st.metadata for st in container.streams])
            assert "48.1" not in known
            assert "SECRET" not in known
            assert len(container.streams.audio) == 1


def test_the_manifest_holds_no_boxes_of_people_and_no_path(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mp4", moving(8))
    output = tmp_path / "out.mp4"
    run(source, output, SolidGenerator((32, 32)))
    text = manifest_path(output).read_text()
    assert str(tmp_path) not in text
    record = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in the manifest"))
    assert "boxes" not in text
    assert set(record["tracks"][0]) == {
        "person", "action", "reason", "ranges", "frames", "distance_to_original",
        "looks_not_comparable",
    }  # fmt: skip


def test_a_plan_of_another_video_is_refused(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mp4", moving(5))
    other = write_clip(tmp_path / "other.mp4", moving(6))
    plan = plan_video(other, SquareDetector(), cache=tmp_path / "cache")
    with pytest.raises(ValueError, match="for another file"):
        run(source, tmp_path / "out.mp4", plan=plan)
    assert leftovers(tmp_path) == []


def test_a_given_plan_decides(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mp4", [[square(5), square(60)]] * 6)
    plan = plan_video(source, SquareDetector(), cache=tmp_path / "cache")
    plan.tracks[1].action, plan.tracks[1].reason = "keep", "asked for it"
    outcome = run(source, tmp_path / "out.mp4", "solid", plan=plan)
    for frame in decoded(tmp_path / "out.mp4"):
        assert not painted_pixels(frame)[:, :40].any()
        assert painted_pixels(frame, 90)[:, 60:80].any()
    record = record_of(tmp_path / "out.mp4")
    assert [t["action"] for t in record["tracks"]] == ["solid", "keep"]
    assert record["tracks"][1]["reason"] == "asked for it"
    assert outcome.safe


def test_progress_reaches_the_end_of_both_passes(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mp4", moving(8))
    work = job(source, tmp_path / "out.mp4", "blur")
    told: list[tuple[str, int, int]] = []
    work.progress = lambda stage, done, total: told.append((stage, done, total))
    work.run()
    assert ("plan", 8, 8) in told
    assert told[-1] == ("render", 8, 8)


def test_a_seed_gives_the_same_file_twice(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mp4", moving(8))
    generator = tiny32()
    # x264's tree of macroblocks reads beyond so small a picture: not the same every time.
    exact = {"x264-params": "no-mbtree=1"}
    for name, seed in (("a.mp4", 1), ("b.mp4", 1), ("c.mp4", 2)):
        run(source, tmp_path / name, generator, seed=seed, encoder_options=exact)
    contents = [(tmp_path / name).read_bytes() for name in ("a.mp4", "b.mp4", "c.mp4")]
    assert contents[0] == contents[1] != contents[2]


def test_a_suffix_that_holds_no_video_is_refused_before_the_work(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mp4", moving(4))
    for name in ("out.xyz", "out", "out.png"):
        with pytest.raises(ValueError, match="suffix"):
            run(source, tmp_path / name)
        assert not (tmp_path / name).exists()


def test_two_runs_at_one_output_do_not_meet(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mp4", moving(6))
    output = tmp_path / "out.mp4"

    class Meanwhile(SquareDetector):
        """Starts a second run while the first one is looking for faces."""

        refused = ""

        def __call__(self, frames: list[UInt8Array]) -> list[list[Detection]]:
            if not self.refused:
                self.refused = "being asked"
                with pytest.raises(FileExistsError, match="Another run is writing") as no:
                    run(source, output)
                self.refused = str(no.value)
            return super().__call__(frames)

    detector = Meanwhile()
    run(source, output, detector=detector)
    assert "wait for it" in detector.refused
    assert done(source, output)
    assert leftovers(tmp_path) == []
    run(source, output, overwrite=True)  # the lock is gone
