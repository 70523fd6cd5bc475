from __future__ import annotations

import base64
import http.server
import json
import re
import threading
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from dp3_lightning.anonymize.planning.plan import PlannedTrack
from dp3_lightning.cli import evaluate as command_module
from dp3_lightning.cli.evaluate import evaluate_command
from dp3_lightning.evaluation import Evaluated, Tools, evaluate, record_of
from dp3_lightning.evaluation.records import people_of
from dp3_lightning.metrics import PictureFeatures
from dp3_lightning.reports.evaluation import _verdict, write_evaluation_report
from dp3_lightning.video import VideoReader
from tests.browser import needs_browser, opened
from tests.evaluation.evaluation_fixtures import changed, clip, frames, plan, tools


def measured(folder: Path, kinds: str = "flickering", beside: str = "") -> list[Evaluated]:
    """Two videos of one person, and of each a baseline."""
    found = []
    for number in range(2):
        original = clip(folder / f"in{number}.mkv", frames())
        output = clip(folder / f"out{number}.mkv", changed(kinds))
        baseline = clip(folder / f"base{number}.mkv", changed(beside)) if beside else None
        found.append(evaluate(original, output, plan(), tools(), "ann", baseline))
    return found


def test_a_record_is_strict_json_and_holds_no_path_and_no_embedding(tmp_path: Path) -> None:
    videos = measured(tmp_path, "black")
    text = json.dumps(record_of(videos, tools()), allow_nan=False)
    record = json.loads(text)
    assert str(tmp_path) not in text
    assert "embedding" not in text
    assert record["videos"][0]["faces"][0]["values"]["landmark error"] is None
    assert record["summary"]["landmark error"] is None
    assert record["summary"]["face found"] == {"median": 0, "q1": 0, "q3": 0, "n": 2}
    assert set(record["meaning"]) == set(record["videos"][1]["faces"][0]["values"])


def test_a_baseline_is_compared_face_by_face_in_the_right_direction(tmp_path: Path) -> None:
    record = record_of(measured(tmp_path, "flickering", "blurred"), tools())
    compared = record["comparison"]
    assert compared["excess warping error"] == {"output": 0, "baseline": 2, "even": 0}
    assert compared["flicker"] == {"output": 0, "baseline": 2, "even": 0}
    assert compared["sharpness"] == {"output": 2, "baseline": 0, "even": 0}
    assert compared["face found"] == {"output": 0, "baseline": 0, "even": 2}
    # Neither all nor no change is best, but as much as in the original.
    assert compared["total variation"] == {"output": 2, "baseline": 0, "even": 0}
    whole = [v["whole_frame_excess_warping_error"] for v in record["videos"]]
    others = [v["baseline"]["whole_frame_excess_warping_error"] for v in record["videos"]]
    assert min(whole) > 10 * max(0.1, *others)  # the flickering of a sixth of the picture
    blurred = record["baseline_summary"]["sharpness"]["median"]
    assert blurred < 0.3 < record["summary"]["sharpness"]["median"]


def test_what_takes_two_people_is_left_out_by_name(tmp_path: Path) -> None:
    record = record_of(measured(tmp_path), tools())
    skipped = {k: v for k, v in record["skipped"].items() if k.startswith("together")}
    assert "two people" in skipped["together: verification, same frame"]
    assert "two people" in skipped["together: identification, frames"]
    assert "two people" in skipped["together: trained attacker"]
    assert "together: pseudonyms of one person, distance" in skipped
    assert "verification, same frame" not in record["together"]


def test_the_page_shows_no_original_unless_asked_and_needs_no_network(tmp_path: Path) -> None:
    videos = measured(tmp_path, "blurred", "flickering")
    record = record_of(videos, tools(embedder=None))
    page = write_evaluation_report(tmp_path / "a.html", record, videos).read_text()
    assert "http://" not in page
    assert "https://" not in page
    assert "<h4>Original</h4>" not in page
    assert page.count("<video") == 4  # output and baseline of two videos
    assert "Better than the baseline on most faces: excess warping error" in page
    assert "<svg" in page
    assert str(tmp_path) not in page
    both = write_evaluation_report(tmp_path / "b.html", record, videos, True).read_text()
    assert both.count("<h4>Original</h4>") == 2
    assert both.count("<video") == 6


def faces_on(page: str, folder: Path) -> list[list[float]]:
    """Mean colour of the face in every picture and in the first frame of every video of a page."""
    found = []
    for kind, data in re.findall(r'src="data:(image/jpeg|video/mp4);base64,([^"]+)"', page):
        content = base64.b64decode(data)
        if kind == "image/jpeg":
            picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
        else:
            (folder / "shown.mp4").write_bytes(content)
            with VideoReader(folder / "shown.mp4") as reader:
                picture = reader.frame(0)
        height, width = picture.shape[:2]
        face = picture[height * 30 // 96 : height * 66 // 96, width * 65 // 160 : width * 95 // 160]
        found.append(face.mean((0, 1)).tolist())
    return found


def test_no_picture_of_a_real_face_is_in_the_page_unless_asked(tmp_path: Path) -> None:
    painted = []
    for frame in frames():
        frame[24:72, 60:100] = (200, 20, 200)
        painted.append(frame)
    original, output = clip(tmp_path / "in.mkv", frames()), clip(tmp_path / "out.mkv", painted)
    video = evaluate(original, output, plan(), tools(), "ann", output)
    record = record_of([video], tools())

    def red_less_green(show: bool) -> list[float]:
        page = write_evaluation_report(tmp_path / "a.html", record, [video], show).read_text()
        return [face[0] - face[1] for face in faces_on(page, tmp_path)]

    hidden = red_less_green(False)
    assert len(hidden) > 4
    assert min(hidden) > 100  # magenta, every one of them
    assert min(red_less_green(True)) < 30


def test_the_verdict_is_not_green_for_steadier_faces_that_are_recognised() -> None:
    def counts(better: str) -> dict[str, int]:
        return {"output": 0, "baseline": 0, "even": 0} | {better: 4}

    steady = {"tOF": counts("output"), "sharpness": counts("output"), "flicker": counts("output")}
    assert 'class="verdict safe"' in _verdict({"comparison": steady})
    leaking = {**steady, "recognised": counts("baseline")}
    assert 'class="verdict unsafe"' in _verdict({"comparison": leaking})


class SlowPicture(http.server.BaseHTTPRequestHandler):
    """Keeps a page from being loaded completely for a while."""

    def do_GET(self) -> None:
        time.sleep(5)
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


# The button of the first player is pressed, and what became of it is written into the page.
PROBE = """<img src="http://127.0.0.1:PORT/"><script>
setTimeout(() => document.querySelector(".player button").click(), 2500);
setTimeout(() => {
  const videos = [...document.querySelectorAll(".player video")], data = document.body.dataset;
  data.sizes = videos.map(v => v.videoWidth);
  data.errors = videos.filter(v => v.error).length;
  data.button = document.querySelector(".player button").textContent;
  data.moved = videos.slice(0, 2).every(v => v.currentTime > 0);
}, 4000);
</script></body>"""


@needs_browser
def test_the_page_opens_and_plays_in_a_browser_without_complaint(tmp_path: Path) -> None:
    videos = measured(tmp_path, "blurred", "flickering")
    page = write_evaluation_report(tmp_path / "a.html", record_of(videos, tools()), videos)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), SlowPicture)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    probe = PROBE.replace("PORT", str(server.server_port))
    page.write_text(page.read_text().replace("</body>", probe))
    seen = opened(page, "--autoplay-policy=no-user-gesture-required")
    server.shutdown()
    (body,) = re.findall(r"<body[^>]*>", seen)
    assert 'data-sizes="160,160,160,160"' in body
    assert 'data-errors="0"' in body
    assert 'data-moved="true"' in body


def folders(tmp_path: Path) -> tuple[Path, Path, Path]:
    """Two people, two clips each; outputs and baselines in trees of the same shape."""
    roots = tuple(tmp_path / name for name in ("in", "out", "base"))
    for person in ("ann", "bob"):
        for number in range(2):
            for root, kind in zip(roots, ("", "blurred", "flickering"), strict=True):
                (root / person).mkdir(parents=True, exist_ok=True)
                pictures = changed(kind) if kind else frames()
                if person == "bob":  # another complexion
                    for picture in pictures:
                        picture[24:72, 60:100, 0] //= 2
                clip(root / person / f"{number}.mkv", pictures)
    return roots  # type: ignore[return-value]


@pytest.fixture
def known_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the command measures with, without any model."""

    def mean_colors(pictures: Any) -> Any:
        return pictures.mean((2, 3))

    def made(cls: type[Tools], embedder: object = None) -> Tools:
        found = tools()
        found.features = PictureFeatures("mean", "mean Frechet", "mean kernel", mean_colors)
        return found

    monkeypatch.setattr(Tools, "at_hand", classmethod(made))
    monkeypatch.setattr(command_module, "detected_plan", lambda original, embedder: plan())


@pytest.mark.usefixtures("known_tools")
def test_a_folder_is_measured_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, output, baseline = folders(tmp_path)
    arguments = [output, "--original", source, "--baseline", baseline, "--report"]
    assert evaluate_command([str(a) for a in arguments]) == 0
    record = json.loads((output / "eval.json").read_text())
    assert [v["group"] for v in record["videos"]] == ["ann", "ann", "bob", "bob"]
    assert record["summary"]["sharpness"]["n"] == 4
    together = record["together"]
    assert together["identification, tracks averaged"]["n_people"] == 2
    assert together["identification, tracks averaged"]["rates"]["1"] == 1  # colour gives them away
    assert together["trained attacker"]["tested_on"] == "other clips of the same people"
    assert together["trained attacker"]["accuracy"] == 1
    assert "support no finer rate" in together["verification, other clip"]["note"]
    assert together["verification, other clip"]["tar"] == 1
    assert together["pseudonyms of one person, distance"]["auc"] == 1
    assert set(together["detectability, AUC"]) == {"auc", "least", "most"}
    assert together["mean Frechet"] >= 0
    assert (output / "eval.html").is_file()
    assert (output / "bob/1.mkv.eval.json").is_file()
    assert "4 videos together" in capsys.readouterr().out


@pytest.mark.usefixtures("known_tools")
def test_false_accepts_are_counted_by_people_and_synthetic_ones_are_named(tmp_path: Path) -> None:
    source, output, _ = folders(tmp_path)
    assert evaluate_command([str(output), "--original", str(source)]) == 0
    found = json.loads((output / "eval.json").read_text())["together"]["verification, same frame"]
    # Ann and Bob; Ann's fake and Bob; Bob's fake and Ann. Four clips make them no more people.
    assert (found["n_people_pairs"], found["n_people_pairs_synthetic"]) == (3, 2)
    assert found["n_impostor"] > 100
    assert found["far"] == pytest.approx(2 / 3)


@pytest.mark.usefixtures("known_tools")
def test_one_video_that_cannot_be_measured_does_not_stop_the_others(tmp_path: Path) -> None:
    source, output, _ = folders(tmp_path)
    for person in ("ann", "bob"):
        clip(output / person / "1.mkv", frames()[:-1])
    assert evaluate_command([str(output), "--original", str(source)]) == 1
    text = (output / "eval.json").read_text()
    record = json.loads(text)
    assert len(record["videos"]) == 2
    assert "got 11" in record["skipped"]["ann/1.mkv"]
    assert "got 11" in record["skipped"]["bob/1.mkv"]
    assert str(tmp_path) not in text


def test_clips_of_several_people_whom_nothing_tells_apart_are_left_out_by_name(
    tmp_path: Path,
) -> None:
    """Taken for strangers, the second clip's people would make those of the first look private."""
    tracks = [
        PlannedTrack(name, 0, [(60.0, 24.0, 100.0, 72.0)] * 12, ["detected"] * 12)  # type: ignore[arg-type]
        for name in ("person-1", "person-2")
    ]
    video = clip(tmp_path / "a.mkv", frames())
    both = evaluate(video, video, plan(tracks=tracks), tools(), "show")
    alone = evaluate(video, video, plan(), tools(), "ann")
    (tracks_found, unclear) = people_of([both, alone, both])
    assert [t.person for t in tracks_found] == ["ann"]
    assert list(unclear) == ["people of show/a.mkv"]
    assert "folder of their own" in unclear["people of show/a.mkv"]
    (tracks_found, unclear) = people_of([both, alone])
    assert [t.person for t in tracks_found] == ["show/person-1", "show/person-2", "ann"]
    assert not unclear


class Half:
    """A detector that calls everything as likely real as not."""

    name = "half"

    def __call__(self, pictures: Any) -> Any:
        return pictures.new_full((len(pictures),), 0.5)


@pytest.mark.usefixtures("known_tools")
def test_a_detector_of_fakes_by_class_path(tmp_path: Path) -> None:
    source, output, _ = folders(tmp_path)
    pair = [str(output / "ann/0.mkv"), "--original", str(source / "ann/0.mkv")]
    assert evaluate_command([*pair, "--fake-detector", f"{__name__}.Half"]) == 0
    record = json.loads((output / "ann/0.mkv.eval.json").read_text())
    assert record["summary"]["detector AUC"]["median"] == 0.5
    assert record["measured_with"]["fake_detector"] == "half"
    for wrong in ("nothing", f"{__name__}.Absent"):
        with pytest.raises(ValueError, match=f"got {wrong!r}"):
            evaluate_command([*pair, "--fake-detector", wrong])


def test_arguments_that_do_not_fit_are_named(tmp_path: Path) -> None:
    original = clip(tmp_path / "in.mkv", frames())
    with pytest.raises(FileNotFoundError, match=r"none\.mkv"):
        evaluate_command([str(tmp_path / "none.mkv"), "--original", str(original)])
    with pytest.raises(FileNotFoundError, match=r"absent\.mkv"):
        evaluate_command(
            [str(original), "--original", str(original), "--baseline", str(tmp_path / "absent.mkv")]
        )
    with pytest.raises(ValueError, match="got 'arcface'"):
        evaluate_command([str(original), "--original", str(original), "--recogniser", "arcface"])


def test_features_that_are_not_numbers_are_named(tmp_path: Path) -> None:
    found = tools()
    found.features = PictureFeatures("bad", "f", "k", lambda p: p.new_full((len(p), 3), np.nan))
    original = clip(tmp_path / "in.mkv", frames())
    with pytest.raises(ValueError, match="36 values that are not finite"):
        evaluate(original, original, plan(), found)
