"""Tracks: who is who from frame to frame, gaps, breaks, and smoothing without lag."""

from __future__ import annotations

import numpy as np
import pytest

from dp3_lightning.faces.tracker import link_detections, pairwise_iou, smooth_boxes
from dp3_lightning.structures import Detection


def face(x: float, y: float = 10.0, side: float = 20.0) -> Detection:
    return Detection((x, y, x + side, y + side), 0.9)


def test_iou_of_known_boxes() -> None:
    first = np.array([[0.0, 0, 10, 10], [100, 100, 110, 110]])
    second = np.array([[0.0, 0, 10, 10], [5, 0, 15, 10], [10, 0, 20, 10]])
    np.testing.assert_allclose(pairwise_iou(first, second), [[1, 1 / 3, 0], [0, 0, 0]], atol=1e-12)


def test_two_faces_keep_apart_whatever_the_order_of_detections() -> None:
    frames = [[face(10 + 2 * t), face(90 - 2 * t)] for t in range(8)]
    shuffled = [found[:: (-1) ** t] for t, found in enumerate(frames)]
    tracks = link_detections(shuffled)
    assert [(t.start, t.stop) for t in tracks] == [(0, 8), (0, 8)]
    assert sorted(t.boxes[0, 0] for t in tracks) == [10, 90]
    for track in tracks:
        assert np.ptp(np.diff(track.boxes[:, 0])) == 0  # never jumps to the other face
        assert track.detected.all()


def test_assignment_takes_the_largest_total_overlap() -> None:
    # Greedily, the old face at 10 would take the new one at 11 and leave the face at 0 without.
    tracks = link_detections([[face(10), face(0)], [face(11), face(5)]], min_iou=0.0)
    assert len(tracks) == 2
    assert sorted(t.boxes[:, 0].tolist() for t in tracks) == [[0, 5], [10, 11]]


@pytest.mark.parametrize(("missing", "pieces"), [(5, 1), (6, 2)])
def test_gap_up_to_max_gap_is_interpolated(missing: int, pieces: int) -> None:
    frames = [[face(10)], *([[]] * missing), [face(10 + missing + 1)]]
    tracks = link_detections(frames, max_gap=5)
    assert len(tracks) == pieces
    if pieces == 1:
        np.testing.assert_allclose(tracks[0].boxes[:, 0], 10 + np.arange(missing + 2))
        assert tracks[0].detected.tolist() == [True, *([False] * missing), True]


def test_break_ends_a_track_even_in_a_gap() -> None:
    still = [[face(10)]] * 6
    assert [(t.start, t.stop) for t in link_detections(still, breaks=[2])] == [(0, 2), (2, 6)]
    gap = [[face(10)], [], [], [face(10)]]
    assert [(t.start, t.stop) for t in link_detections(gap, breaks=[2])] == [(0, 1), (3, 4)]


def test_jump_starts_a_new_track() -> None:
    tracks = link_detections([[face(10)], [face(26)], [face(26)]], min_iou=0.3)
    assert [(t.start, t.stop) for t in tracks] == [(0, 1), (1, 3)]


def test_nothing_found() -> None:
    assert link_detections([[], [], []]) == []


def test_smoothing_keeps_rest_and_steady_motion_and_has_no_lag() -> None:
    t = np.arange(30.0)
    steady = np.stack([5 + 2 * t, 7 - t, 25 + 2 * t, 27 - t], axis=1)
    smooth = smooth_boxes(steady)
    np.testing.assert_allclose(smooth[4:-4], steady[4:-4])
    still = np.tile([1.0, 2.0, 3.0, 4.0], (30, 1))
    np.testing.assert_allclose(smooth_boxes(still), still)
    noisy = steady + np.random.default_rng(0).normal(size=steady.shape)
    np.testing.assert_allclose(smooth_boxes(noisy[::-1])[::-1], smooth_boxes(noisy))


def test_smoothing_averages_tremble_away() -> None:
    noise = np.random.default_rng(1).normal(size=(400, 4))
    # A triangle of nine (1..5..1)/25 leaves sqrt(85)/25 = 0.369 of independent noise.
    assert smooth_boxes(noise)[4:-4].std() == pytest.approx(0.369, rel=0.1)


@pytest.mark.parametrize("n", [1, 2, 3, 9])
def test_smoothing_of_short_tracks(n: int) -> None:
    boxes = np.random.default_rng(n).uniform(0, 50, size=(n, 4))
    smooth = smooth_boxes(boxes)
    assert smooth.shape == (n, 4)
    assert (smooth >= boxes.min(axis=0) - 1e-9).all()
    assert (smooth <= boxes.max(axis=0) + 1e-9).all()
    if n == 2:  # weights 2:1
        np.testing.assert_allclose(smooth[0], (2 * boxes[0] + boxes[1]) / 3)
