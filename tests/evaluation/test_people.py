from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dp3_lightning.evaluation import PersonTrack, people_figures
from dp3_lightning.evaluation.figures import FaceFigures
from dp3_lightning.evaluation.identity import TrackEmbeddings
from dp3_lightning.structures import FloatArray

RNG = np.random.default_rng(0)
PLACES = {name: RNG.normal(size=16) for name in ("ann", "bob", "cem", "fake")}


def track(
    person: str, video: str, made: str | None = None, n: int = 6, features: Any = None
) -> PersonTrack:
    """A face whose drawn copy lies where ``made`` says: a person's place, or one of its own."""

    def around(place: FloatArray) -> FloatArray:
        rows: FloatArray = place + 0.05 * RNG.normal(size=(n, 16))
        return rows

    drawn = RNG.normal(size=16) if made is None else PLACES[made]
    embeddings = TrackEmbeddings(around(PLACES[person]), around(drawn), around(PLACES["fake"]))
    figures = FaceFigures(person, (0, n - 1), {}, embeddings, features)
    return PersonTrack(person, video, figures)


def measured(*tracks: PersonTrack) -> dict[str, Any]:
    return people_figures(tracks)[0]


def test_who_is_not_anonymized_is_found_by_every_attacker() -> None:
    clips = [track(p, f"{p}{i}", made=p) for p in ("ann", "bob", "cem") for i in range(2)]
    found = measured(*clips)
    assert found["verification, same frame"]["tar"] == 1
    assert found["verification, same frame"]["n_people"] == 3
    assert found["verification, other clip"]["tar"] == 1
    averaged = found["verification, other clip, tracks averaged"]
    assert (averaged["tar"], averaged["n_genuine"]) == (1, 6)
    assert found["identification, tracks averaged"]["rates"][1] == 1
    assert found["trained attacker"]["accuracy"] == 1
    assert found["pseudonyms of one person, distance"]["auc"] == 1


def test_averaging_finds_a_trace_that_single_frames_hide() -> None:
    """The honest attacker on video: noise of single frames averages out."""
    clips = []
    for person in ("ann", "bob", "cem"):
        made = track(person, person, made=person, n=60)
        assert made.figures.embeddings is not None
        made.figures.embeddings.made[:] += 3 * RNG.normal(size=(60, 16))
        clips.append(made)
    found = measured(*clips)
    assert found["identification, frames"]["rates"][1] < 0.8
    assert found["identification, tracks averaged"]["rates"][1] == 1


def test_one_fake_for_all_cannot_be_linked() -> None:
    clips = [track(p, f"{p}{i}", made="fake", n=1) for p in ("ann", "bob") for i in range(2)]
    for clip in clips:  # exactly the same
        assert clip.figures.embeddings is not None
        clip.figures.embeddings.made[:] = PLACES["fake"]
    assert measured(*clips)["pseudonyms of one person, distance"]["auc"] == 0.5


def test_people_with_one_clip_do_not_weaken_the_trained_attacker() -> None:
    clips = [track(p, f"{p}{i}", made=p) for p in ("ann", "bob") for i in range(2)]
    found = measured(*clips, track("cem", "cem0", made="cem"))["trained attacker"]
    assert found["tested_on"] == "other clips of the same people"
    assert found["n_people"] == 2
    alone = measured(*(track(p, p, made=p) for p in ("ann", "bob")))["trained attacker"]
    assert alone["tested_on"] == "the last third of the same clips"


def test_one_frame_cannot_be_trained_on_and_tested() -> None:
    values, skipped = people_figures([track("ann", "a", n=1), track("bob", "b", n=1)])
    assert "trained attacker" not in values
    assert "at least two people" in skipped["trained attacker"]


def test_the_detector_of_fakes_is_tested_on_people_it_has_not_seen() -> None:
    """Each person's real faces lie at one place, the fakes at another: only people tell."""

    def features(person: str) -> tuple[FloatArray, FloatArray]:
        side = {"ann": 1.0, "bob": -1.0}[person]
        made, real = RNG.normal(size=(2, 20, 2)) * 0.1
        away = np.array([side, 0.0])
        return made + away, real - away

    clips = [track(p, f"{p}{i}", features=features(p)) for p in ("ann", "bob") for i in range(2)]
    assert measured(*clips)["detectability, AUC"]["auc"] < 0.2  # what Ann teaches is wrong for Bob
    values, skipped = people_figures(clips[:2])
    assert "detectability, AUC" not in values
    assert "two people" in skipped["detectability, AUC"]


@pytest.mark.parametrize("broken", [0, 1])
def test_a_track_without_any_embedding_is_left_out(broken: int) -> None:
    clips = [track(p, p, made=p) for p in ("ann", "bob", "cem")]
    empty = TrackEmbeddings(*(np.zeros((0,)) for _ in range(3)))
    figures = FaceFigures("x", (0, 5), {}, empty)
    clips.insert(broken, PersonTrack("dan", "d", figures))
    assert measured(*clips)["verification, same frame"]["n_people"] == 3


def test_two_tracks_of_one_video_are_no_other_clip() -> None:
    """Same clothes, same light, same minute: that would not be re-identification."""
    clips = [track(p, p, made=p) for p in ("ann", "bob") for _ in range(2)]
    values, skipped = people_figures(clips)
    assert not any("other clip" in name for name in values)
    assert "No person is in two clips" in skipped["verification, other clip"]


def test_impostors_are_real_people_and_synthetic_ones() -> None:
    found = measured(*(track(p, p) for p in ("ann", "bob", "cem")))["verification, same frame"]
    assert found["n_people_pairs_synthetic"] == 6  # each drawn face against two real people
    assert found["n_people_pairs"] == 3 + 6
    assert found["n_impostor"] == (3 + 6) * 6 * 6


def test_a_drawn_face_like_another_real_person_raises_what_is_accepted_by_chance() -> None:
    """Synthetic impostors count in the threshold, not in the number of pairs only."""
    plain = [track(p, p, made="fake") for p in ("ann", "bob", "cem")]
    alike = [track(p, p, made=q) for p, q in (("ann", "bob"), ("bob", "cem"), ("cem", "ann"))]
    name = "verification, same frame"
    assert measured(*alike)[name]["threshold"] < 0.5 * measured(*plain)[name]["threshold"]


def test_sharpness_by_size_and_colour_by_tone() -> None:
    clips = [track(p, p) for p in ("ann", "bob", "cem")]
    for clip, sharp, size, gap, tone in zip(
        clips, (0.5, 0.7, 1.1), (40.0, 50.0, 300.0), (3.0, 5.0, 9.0), (70.0, 80.0, 20.0),
        strict=True,
    ):  # fmt: skip
        clip.figures.values.update(
            {
                "sharpness": sharp, "face size": size, "skin difference": gap,
                "skin lightness, original": tone,
            }
        )  # fmt: skip
    found = measured(*clips)
    assert found["sharpness by face size"] == {
        "32 to 64 px": {"median": 0.6, "n": 2}, "256 px and more": {"median": 1.1, "n": 1},
    }  # fmt: skip
    assert found["skin difference by tone"]["light"] == {"median": 4.0, "n": 2}
    assert found["skin difference by tone"]["dark"]["median"] == 9
    values, skipped = people_figures([track("ann", "a"), track("bob", "b")])
    assert "skin difference by tone" not in values
    assert "No face has" in skipped["skin difference by tone"]
