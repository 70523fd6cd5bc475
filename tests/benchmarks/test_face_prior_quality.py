"""The figures about the face prior, on cases where one knows what they must be."""

from __future__ import annotations

import json
import math
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.quality.diversity import agreed_values, pooled_targets
from benchmarks.quality.face_prior import Work, digest_of
from benchmarks.quality.identities import (
    JUDGING,
    Judge,
    MobileFaceNet,
    deciding,
    identity_values,
    judges_at_hand,
    threshold_of,
    told_apart,
)
from benchmarks.quality.pictures import (
    Look,
    color_difference,
    laplacian_variance,
    look_of,
    look_values,
    recompressed,
    tone_group,
)
from benchmarks.quality.report import TARGETS, signal_table, table, verdicts, with_shares
from benchmarks.quality.signals import (
    FIVE,
    SEVEN,
    agreement,
    correlations,
    five_signals,
    frontal_correlation,
    is_judged,
    landmark_correlation,
    seven_signals,
    telling_frames,
)
from benchmarks.quality.tracks import Original
from benchmarks.quality.watching import Observer, at_place
from dp3_lightning.assets import asset_path
from dp3_lightning.evaluation.rendering import detected_plan
from dp3_lightning.faces.expression import place
from dp3_lightning.faces.sface import SFaceEmbedder
from dp3_lightning.generators.face_prior.latent_model import LatentModel
from dp3_lightning.structures import Detection, FloatArray, UInt8Array
from dp3_lightning.video import VideoReader, write_video

REFERENCE = LatentModel.load().reference
LOWER_LIP = [14, 87, 317]
SFACE = Judge("SFace", SFaceEmbedder())


def talking(n: int = 40, opens: float = 0.1, turns: float = 15.0) -> FloatArray:
    """Meshes in the frame: a head that turns while its lower lip goes up and down, faster."""
    meshes = []
    for i in range(n):
        face = REFERENCE.copy()
        face[LOWER_LIP, 1] += opens * (1 + math.sin(i))
        yaw = math.radians(turns) * math.sin(i / 9)
        sine, cosine = math.sin(yaw), math.cos(yaw)
        rotation = np.array([[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]])
        meshes.append(place(face, 80.0, rotation, np.array([300.0 + i, 200.0, 0.0])))
    return np.array(meshes)


def face_picture(side: int = 160) -> tuple[UInt8Array, FloatArray]:
    """Noise, and a mesh in the middle of it."""
    picture = np.random.default_rng(0).integers(60, 220, (side, side, 3), dtype=np.uint8)
    center = np.array([side / 2, side / 2, 0.0])
    return picture, (REFERENCE - REFERENCE.mean(0)) * side / 3 + center


def test_a_face_follows_itself_and_a_frozen_one_does_not() -> None:
    meshes = talking()
    assert landmark_correlation(meshes, meshes) == pytest.approx(1)
    assert frontal_correlation(meshes, meshes, REFERENCE) == pytest.approx(1)
    frozen = np.repeat(meshes[:1], len(meshes), axis=0)
    assert landmark_correlation(meshes, frozen) == 0
    assert abs(frontal_correlation(meshes, frozen, REFERENCE)) < 0.4


def test_a_mask_on_a_moving_head_has_no_expression() -> None:
    """In the frame it looks perfect; only frontal coordinates tell."""
    real = talking()
    signals = [seven_signals(m, REFERENCE) for m in (real, talking(opens=0.0))]
    found = dict(zip(SEVEN, correlations(*signals), strict=True))
    assert landmark_correlation(real, talking(opens=0.0)) > 0.99
    assert abs(found["mouth_open"]) < 0.5
    assert found["yaw"] > 0.99


def test_correlation_says_what_it_cannot_know() -> None:
    moving, still = np.sin(np.arange(20.0))[:, None], np.full((20, 1), 3.0)
    assert correlations(moving, still).tolist() == [0]
    assert np.isnan(correlations(still, moving)).all()
    assert correlations(moving, -2 * moving + 5) == pytest.approx(-1)
    assert np.isnan(correlations(moving[:7], moving[:7])).all()


def test_signals_are_those_of_the_mesh() -> None:
    signals = dict(zip(SEVEN, seven_signals(talking(), REFERENCE).T, strict=True))
    assert np.ptp(signals["mouth_open"]) == pytest.approx(0.2, rel=0.02)
    assert np.ptp(signals["eyes"]) < 1e-6
    assert signals["yaw"].max() == pytest.approx(15, abs=0.5)


def test_five_points_are_measured_in_the_head() -> None:
    # dlib's order: the eye on the right of the picture, corners first outer then inner; nose last.
    points = np.array([[40.0, 0], [30, 0], [0, 0], [10, 0], [20, 30]])
    turn = math.radians(10)
    rotation = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    values = five_signals(np.stack([points, 2 * points @ rotation.T + 7]))
    upright, turned = (dict(zip(FIVE, row, strict=True)) for row in values)
    assert upright["roll"] == pytest.approx(0)
    assert turned["roll"] == pytest.approx(10)
    assert turned["eye distance"] == pytest.approx(2 * upright["eye distance"])
    for name in ("nose across", "nose down"):
        assert turned[name] == pytest.approx(upright[name])
    assert upright["nose down"] == pytest.approx(1)


def test_agreement_judges_what_can_be_measured() -> None:
    rng = np.random.default_rng(1)
    real = rng.normal(size=(200, 2))
    ceiling = real + rng.normal(size=real.shape) * [0.1, 2.0]
    other = real * [0.5, 1.0] + rng.normal(size=real.shape) * [0.1, 0.0]
    values = agreement(("good", "noisy"), "both", real, other, ceiling)
    assert is_judged(values, "good")
    assert not is_judged(values, "noisy")
    assert values["both of ceiling"] == pytest.approx(values["good"] / values["good ceiling"])
    assert values["good gain"] == pytest.approx(0.5, abs=0.05)
    own = agreement(("good", "noisy"), "both", real, real, real)
    assert own["both"] == own["both of ceiling"] == pytest.approx(1)
    assert own["good error"] == 0


def test_telling_frames_are_those_that_differ() -> None:
    signals = np.zeros((30, 2))
    signals[7], signals[20] = (5, 0), (0, -5)
    assert {7, 20} < set(telling_frames(signals, 3))
    assert telling_frames(signals[:2], 8) == [0, 1]


def test_skin_and_sharpness_of_one_picture_are_alike() -> None:
    picture, mesh = face_picture()
    look = look_of(picture, mesh)
    assert look_values([look], [look])["skin"] == 0
    assert look_values([look], [look])["sharpness"] == 1
    assert color_difference(look.skin, look.skin) == 0
    assert math.isnan(look_values([], [])["skin"])


def test_a_blurred_face_is_less_sharp_and_a_dark_one_darker() -> None:
    picture, mesh = face_picture()
    real = look_of(picture, mesh)
    blurred = look_of(cv2.GaussianBlur(picture, (0, 0), 2.0), mesh)
    assert look_values([real], [blurred])["sharpness"] < 0.1
    dark = look_values([real], [look_of((picture * 0.5).astype(np.uint8), mesh)])
    assert dark["skin lightness"] < -15
    assert dark["skin"] >= abs(dark["skin lightness"])


def test_only_the_inside_of_the_face_counts_as_sharp() -> None:
    picture, mesh = face_picture()
    inside = laplacian_variance(picture, mesh)
    picture[:8] = 0
    assert laplacian_variance(picture, mesh) == inside
    assert math.isnan(laplacian_variance(picture, mesh + 1000))


def test_looks_are_paired_and_tones_named() -> None:
    looks = [Look(np.array([50.0, 10, 10]), 4.0), Look(np.array([53.0, 14, 10]), 2.0)]
    values = look_values(looks[:1], looks[1:])
    assert (values["skin"], values["sharpness"], values["lightness"]) == (5.0, 0.5, 50.0)
    assert [tone_group(level) for level in (44, 45, 65, 66)] == [
        "dark",
        "medium",
        "medium",
        "light",
    ]


def test_recompression_changes_little() -> None:
    flat = np.full((64, 64, 3), (200, 120, 90), np.uint8)
    assert recompressed(flat).shape == flat.shape
    assert np.abs(recompressed(flat).astype(int) - flat).max() < 4


def test_a_judge_compares_with_its_own_threshold() -> None:
    real, other = np.eye(4)[[0, 0, 0]], np.eye(4)[[1, 1, 2]]
    values = identity_values(SFACE, real, other)
    assert (values["SFace"], values["SFace above"]) == (0, 0)
    assert values["SFace constancy"] == pytest.approx(1 / 3)
    assert values["SFace constancy, original"] == 1
    assert identity_values(SFACE, real, real)["SFace above"] == 1
    assert all(map(math.isnan, identity_values(SFACE, real[:1], real[:1]).values()))
    distance = Judge("dlib", SFaceEmbedder(), by_distance=True)
    assert identity_values(distance, real, real + 0.1)["dlib"] == pytest.approx(0.8)
    assert threshold_of("dlib", Path("none.json")).origin == "documented"


def test_draws_of_one_person_are_not_told_apart() -> None:
    people = np.eye(4)
    assert told_apart(SFACE, people) == 1
    assert told_apart(SFACE, people[[0, 0, 0]]) == 0
    assert told_apart(SFACE, people[[0, 0, 1]]) == pytest.approx(2 / 3)
    assert math.isnan(told_apart(SFACE, people[:1]))


def test_both_judges_must_tell_draws_apart() -> None:
    dlib, other = (Judge(name, SFaceEmbedder()) for name in JUDGING)
    people = [*np.eye(4)[:3], None]
    found = {dlib.name: people, other.name: [people[0], people[0], people[1], people[2]]}
    values = agreed_values([dlib, other], found)
    assert values == {"both judges told apart": pytest.approx(2 / 3), "both judges draws": 3}
    assert agreed_values([dlib], found)["both judges told apart"] == 1
    alone = {dlib.name: [people[0], None]}
    assert agreed_values([dlib], alone)["both judges told apart"] is None


def test_without_a_judge_nothing_is_decided() -> None:
    judges = [Judge(name, SFaceEmbedder()) for name in ("SFace", *JUDGING)]
    assert [judge.name for judge in deciding(judges)] == list(JUDGING)
    with pytest.raises(ValueError, match=r"Without MobileFaceNet .*npm pack"):
        deciding(judges[:2])


def test_diversity_is_judged_over_all_faces() -> None:
    faces = [{"dlib told apart": 1.0}, {"dlib told apart": 0.7}, {"dlib told apart": None}]
    (row,) = pooled_targets(faces, ["dlib"])
    assert row["met"]
    assert row["measured"] == "0.85 (0.7 to 1), 2 faces"
    (row,) = pooled_targets([*faces, {"dlib told apart": 0.1}], ["dlib"])
    assert row["met"] is False
    assert pooled_targets([{}], ["dlib"])[0]["met"] is None


def test_another_file_is_no_mobilefacenet(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="npm pack"):
        judges_at_hand(tmp_path / "none.tflite")
    (tmp_path / "other.tflite").write_bytes(b"other")
    with pytest.raises(ValueError, match="another content"):
        MobileFaceNet(tmp_path / "other.tflite")


def test_a_face_is_found_where_it_was() -> None:
    faces = [Detection((0, 0, 10, 10), 0.9), Detection((100, 100, 140, 150), 0.8)]
    assert at_place(faces, (98, 98, 139, 149)).tolist() == [100, 100, 140, 150]
    assert np.isnan(at_place(faces, (50, 50, 90, 90))).all()
    assert np.isnan(at_place([], (50, 50, 90, 90))).all()


def test_tables_have_medians_and_targets_can_be_met_and_missed() -> None:
    middle = {t.figure: t.least if math.isfinite(t.least) else t.most for t in TARGETS}
    good = {"clip": "a", "track": 0, "seed": 0, "not judged": ["eyes"], **middle}
    bad = {**good, **{t.figure: -9.0 if math.isfinite(t.least) else 9.0 for t in TARGETS}}
    assert all(row["met"] for row in verdicts([good, good]))
    assert not any(row["met"] for row in verdicts([good, good, bad]))
    assert not any(row["met"] for row in verdicts([good, bad, bad]))
    assert all(row["met"] is None for row in verdicts([{"clip": "a", "track": 0, "seed": 0}]))
    rows = table([good, {**good, "warping": 3.0}, {**good, "warping": None}])
    assert [row["face"] for row in rows] == ["a 1"] * 3 + ["median"]
    assert rows[-1]["warping"] == pytest.approx((3.0 + middle["warping"]) / 2)
    assert rows[0]["not judged"] == "eyes"
    assert len({len(row) for row in signal_table([good])}) == 1


def test_shares_are_of_the_ceiling_and_of_the_original() -> None:
    face = {
        "landmarks": 0.9, "landmarks ceiling": 1.0, "frontal": None,
        "dlib constancy": 0.6, "dlib constancy, original": 0.8,
    }  # fmt: skip
    shares = with_shares(face)
    assert shares["landmarks of ceiling"] == 0.9
    assert with_shares({**face, "landmarks ceiling": 0.89})["landmarks of ceiling"] is None
    assert shares["frontal of ceiling"] is None
    assert shares["dlib constancy, share"] == pytest.approx(0.75)


def test_what_is_done_is_done_once_and_again_after_a_change(tmp_path: Path) -> None:
    calls: list[str] = []
    output = tmp_path / "a_0.mp4"

    def draw() -> None:
        calls.append("draw")
        output.write_bytes(b"video")

    def measure() -> list[dict[str, float]]:
        calls.append("measure")
        return [{"r": 0.5, "unknown": math.nan}]

    for code in ("one", "one", "two"):
        work = Work(tmp_path, drawn_by=code, measured_by="m")
        work.rendered(output, draw)
        faces = work.measured("a_0", ["SFace"], measure)
    assert calls == ["draw", "measure"] * 2
    assert faces == [{"r": 0.5, "unknown": None}]
    Work(tmp_path, "two", "m").measured("a_0", ["SFace", "dlib"], measure)
    assert calls[4:] == ["measure"]
    assert "NaN" not in (tmp_path / "a_0.json").read_text()
    assert json.loads((tmp_path / "a_0.json").read_text())["key"][0] == "two"


def test_the_digest_is_of_code_and_weights(tmp_path: Path) -> None:
    (tmp_path / "code.py").write_text("1")
    before = digest_of([tmp_path])
    (tmp_path / "notes.txt").write_text("1")
    assert digest_of([tmp_path]) == before
    (tmp_path / "w.safetensors").write_text("1")
    assert digest_of([tmp_path]) != before


@pytest.mark.assets
def test_a_video_beside_itself(tmp_path: Path) -> None:
    with VideoReader(asset_path("smile")) as reader:
        source = write_video(tmp_path / "clip.mp4", reader.frames(0, 12), 30, crf=12)
    original = Original(source, detected_plan(source, tmp_path), Observer([SFACE]))
    (face,) = original.measure(source, REFERENCE, "strip_{}.png")
    assert face["landmarks"] == face["frontal"] == pytest.approx(1)
    assert face["mesh found"] == face["CenterFace"] == face["YuNet"] == 1
    for figure in ("warping", "sharpness", "SFace", "signals"):
        assert face[figure] == pytest.approx(1)
    assert face["SFace above"] == 1
    assert face["skin"] == 0
    assert face["landmarks ceiling"] < 1
    strip = cv2.imread(str(tmp_path / "strip_0.png"))
    assert strip.shape == (384, 8 * 192, 3)
    assert np.abs(strip[:192].astype(int) - strip[192:]).max() == 0
