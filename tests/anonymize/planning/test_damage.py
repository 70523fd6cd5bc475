from dp3_lightning.anonymize.planning.damage import LOST_IN_DAMAGE, carried_through_damage
from dp3_lightning.anonymize.planning.plan import PlannedTrack
from tests.anonymize.anonymize_fixtures import plan_for, square

WHOLE = (0.0, 0.0, 96.0, 64.0)


def track_of(start: int, stop: int, x: float = 20.0, padded: int = 2) -> PlannedTrack:
    track = plan_for({"p": [square(x)] * (stop - start)}, 100).tracks[0]
    track.start = start
    for i in range(1, padded + 1):
        track.origins[-i] = "padded"
    return track


def test_face_lost_at_a_jump_is_blurred_to_the_next_key_frame() -> None:
    track = track_of(0, 22)  # seen up to frame 19
    (more,) = carried_through_damage([track], [[20, *WHOLE]], [0, 12, 48], 100, 5)
    assert (more.start, more.stop, more.action, more.person) == (22, 48, "blur", "p")
    assert more.reason == LOST_IN_DAMAGE
    x0, y0, x1, y1 = more.boxes[0]
    left, top, right, bottom = track.boxes[-1]
    assert x0 < left
    assert y0 < top
    assert x1 > right
    assert y1 > bottom
    (last,) = carried_through_damage([track], [[20, *WHOLE]], [0, 12], 100, 5)
    assert last.stop == 100  # no key frame any more


def test_what_has_nothing_to_do_with_a_jump_stays() -> None:
    keys = [0, 48]
    seen_on = track_of(0, 40)
    assert carried_through_damage([seen_on], [[20, *WHOLE]], keys, 100, 5) == []
    gone_before = track_of(0, 12)
    assert carried_through_damage([gone_before], [[20, *WHOLE]], keys, 100, 5) == []
    elsewhere = [20, 70.0, 0.0, 96.0, 20.0]
    assert carried_through_damage([track_of(0, 22)], [elsewhere], keys, 100, 5) == []


def test_blur_ends_where_the_face_is_found_again() -> None:
    tracks = [track_of(0, 22), track_of(30, 60, x=24.0)]
    (more,) = carried_through_damage(tracks, [[20, *WHOLE]], [0, 48], 100, 5)
    assert more.stop == 30
    tracks = [track_of(0, 22), track_of(30, 60, x=70.0)]
    (more,) = carried_through_damage(tracks, [[20, *WHOLE]], [0, 48], 100, 5)
    assert more.stop == 48
