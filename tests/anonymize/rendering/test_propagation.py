from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import pytest
import torch
from torch import Tensor

from dp3_lightning.anonymize.rendering.propagation import (
    Motion,
    Propagation,
    carry,
    find_keys,
    grow_hole,
    link,
)
from dp3_lightning.optical_flow import DISFlow, FlowEstimator
from dp3_lightning.structures import Window

SIDE = 64
HOLE: Window = (16, 16, 48, 48)
DIS = DISFlow("fast")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """On pictures this small threads cost more than they give, on a busy machine 15 times."""
    before = cv2.getNumThreads(), torch.get_num_threads()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    yield
    cv2.setNumThreads(before[0])
    torch.set_num_threads(before[1])


def texture(dx: float = 0.0, dy: float = 0.0, phase: float = 0.0) -> Tensor:
    """A smooth picture that has been moved by ``(dx, dy)`` pixels."""
    y, x = torch.meshgrid(torch.arange(SIDE) - dy, torch.arange(SIDE) - dx, indexing="ij")
    return torch.stack(
        [
            0.5 * torch.sin(x / 3 + phase) * torch.cos(y / 4),
            0.5 * torch.sin((x + y) / 5 - phase),
            0.4 * torch.cos(x / 6 - y / 3 + 2 * phase),
        ]
    )


def clip(speed: float, n_frames: int = 13) -> Tensor:
    return torch.stack([texture(speed * t) for t in range(n_frames)])


def noise(n_frames: int = 13) -> Tensor:
    coarse = torch.rand(n_frames, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return torch.nn.functional.interpolate(coarse, (SIDE, SIDE), mode="bilinear")


def keys_of(real: Tensor, how: str, hole: Window = HOLE) -> list[int]:
    return find_keys(real, [hole] * len(real), DIS, Propagation.parse(how)).keys


def inside(image: Tensor, hole: Window = HOLE) -> Tensor:
    return image[..., hole[1] : hole[3], hole[0] : hole[2]]


def motion_of(
    keys: Sequence[int], n_frames: int, speed: tuple[float, float], trust: float = 1.0
) -> Motion:
    """What :func:`find_keys` would find for a picture that moves at a known speed."""
    links = {}
    for frame in range(n_frames):
        for key in [k for k in keys if k < frame][-1:] + [k for k in keys if k > frame][:1]:
            if frame not in keys:
                flow = torch.tensor(speed)[:, None, None] * float(key - frame)
                links[frame, key] = flow.expand(2, SIDE, SIDE), torch.full((1, SIDE, SIDE), trust)
    return Motion(list(keys), links)


# ---------------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("text", "mode", "every"),
    [
        ("off", "off", None),
        ("fixed:1", "fixed", 1),
        ("fixed:24", "fixed", 24),
        ("adaptive", "adaptive", None),
        ("adaptive:5", "adaptive", 5),
    ],
)
def test_settings_are_read(text: str, mode: str, every: int | None) -> None:
    how = Propagation.parse(text)
    assert how.mode == mode
    assert how.every == (every or Propagation().every)


@pytest.mark.parametrize(
    "text",
    ["", "on", "fixed", "fixed:", "fixed:x", "fixed:1.5", "fixed:-2", "fixed: 3", "off:3", ":3",
     "adaptive:3:4", "Adaptive", "adaptive:", "off:", "fixed:²"],
)  # fmt: skip
def test_what_is_no_setting_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"fixed:N, adaptive or adaptive:N") as caught:
        Propagation.parse(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize("text", ["fixed:0", "adaptive:0"])
def test_never_is_no_setting(text: str) -> None:
    with pytest.raises(ValueError, match=rf"N >= 1.*'{text}'"):
        Propagation.parse(text)


# ---------------------------------------------------------------------- keys


def test_keys_at_fixed_distances() -> None:
    assert keys_of(clip(0.5), "off") == list(range(13))
    assert keys_of(clip(0.5), "fixed:1") == list(range(13))
    assert keys_of(clip(0.5), "fixed:4") == [0, 4, 8, 12]
    assert keys_of(clip(0.5), "fixed:5") == [0, 5, 10, 12]
    assert keys_of(noise(7), "fixed:5") == [0, 5, 6]  # whatever the pictures show
    assert keys_of(clip(0.5), "fixed:99") == [0, 12]


@pytest.mark.parametrize("how", ["off", "fixed:3", "adaptive", "adaptive:2"])
@pytest.mark.parametrize("n_frames", [1, 2, 3])
def test_first_and_last_are_keys(how: str, n_frames: int) -> None:
    keys = keys_of(clip(0.1, n_frames), how)
    assert keys[0] == 0
    assert keys[-1] == n_frames - 1
    assert len(keys) == len(set(keys))


def test_the_faster_it_moves_the_more_is_drawn() -> None:
    assert keys_of(clip(0.1), "adaptive:99") == [0, 12]
    counts = [len(keys_of(clip(speed), "adaptive:99")) for speed in (0.1, 0.5, 1.0, 4.0)]
    assert counts == sorted(set(counts))
    assert counts[-1] == 13
    # A hole of twice the side may move twice as far.
    assert len(keys_of(clip(1.0), "adaptive:99", (0, 0, 64, 64))) < counts[2]


def test_at_the_latest_after_so_many_frames() -> None:
    assert keys_of(clip(0.05), "adaptive:4") == [0, 4, 8, 12]


def test_unrelated_pictures_are_all_drawn() -> None:
    assert keys_of(noise(), "adaptive") == list(range(13))


def test_a_sudden_change_is_drawn_at_once() -> None:
    real = clip(0.1)
    real[6:] = texture(0, 0, phase=2.0)
    keys = keys_of(real, "adaptive")
    assert 6 in keys
    assert len(keys) <= 4


def test_only_the_hole_counts() -> None:
    real = clip(0.05)
    changing = noise()
    x0, y0, x1, y1 = (8, 8, 56, 56)  # the hole and what flow needs around it
    changing[..., y0:y1, x0:x1] = inside(real, (x0, y0, x1, y1))
    assert len(keys_of(changing, "adaptive")) < 8
    assert len(keys_of(changing, "adaptive", (0, 0, 64, 64))) > 10


@pytest.mark.parametrize("how", ["fixed:3", "fixed:5", "adaptive", "adaptive:2"])
def test_every_frame_between_is_linked_to_both_keys(how: str) -> None:
    real = torch.cat([clip(0.5, 8), noise(3), clip(0.1, 6)])
    motion = find_keys(real, [HOLE] * len(real), DIS, Propagation.parse(how))
    expected = set()
    for frame in set(range(len(real))) - set(motion.keys):
        expected |= {(frame, max(k for k in motion.keys if k < frame))}
        expected |= {(frame, min(k for k in motion.keys if k > frame))}
    assert set(motion.links) >= expected
    for flow, trust in motion.links.values():
        assert flow.shape == (2, SIDE, SIDE)
        assert trust.shape == (1, SIDE, SIDE)
        assert 0 <= trust.min() <= trust.max() <= 1


@pytest.mark.parametrize(("frame", "key"), [(2, 0), (0, 2), (1, 4)])
def test_links_point_from_the_frame_to_the_key(frame: int, key: int) -> None:
    real = torch.stack([texture(0.8 * t, -0.5 * t) for t in range(5)])
    flow, trust = link(real, frame, key, DIS)
    expected = torch.tensor([0.8, -0.5])[:, None, None] * (key - frame)
    assert (inside(flow) - expected).abs().mean() < 0.1
    assert inside(trust).mean() > 0.9


def test_what_looks_different_is_not_trusted() -> None:
    real = torch.stack([texture(1.0 * t) for t in range(2)])
    real[1, :, 28:36, 28:36] = noise(1)[0, :, 28:36, 28:36]
    _, trust = link(real, 1, 0, DIS)
    assert trust[:, 29:35, 29:35].mean() < 0.6
    assert inside(trust, (8, 8, 20, 56)).mean() > 0.9


class Recited(FlowEstimator):
    """Gives flows that it was told, one after the other."""

    name = "recited"

    def __init__(self, *flows: Tensor) -> None:
        self.flows = list(flows)

    def _estimate(self, source: Tensor, target: Tensor) -> Tensor:
        return self.flows.pop(0)[None]


def test_flow_that_does_not_come_back_is_replaced_by_that_around_it() -> None:
    there, back = torch.zeros(2, SIDE, SIDE), torch.zeros(2, SIDE, SIDE)
    there[0], back[0] = 3, -3
    there[:, 30:34, 30:34] = -9
    flow, trust = link(torch.zeros(2, 3, SIDE, SIDE), 0, 1, Recited(there, back))
    assert trust[:, 30:34, 30:34].max() < 0.01
    assert (flow[0, 30:34, 30:34] - 3).abs().max() < 0.3
    assert flow[1, 30:34, 30:34].abs().max() < 0.3
    elsewhere = inside(trust, (0, 0, SIDE, 28))
    assert elsewhere[..., :61].min() > 0.99
    assert elsewhere[..., 61:].max() == 0  # leaves the crop
    torch.testing.assert_close(inside(flow, (0, 0, 61, 28)), inside(there, (0, 0, 61, 28)))


# ---------------------------------------------------------------------- carrying


@pytest.mark.parametrize("speed", [(1.0, 0.0), (0.37, -0.61), (0.0, 0.0)])
def test_a_drawn_face_moves_with_the_real_one(speed: tuple[float, float]) -> None:
    # What is drawn differs from the real picture; it lies on the head that moves.
    n_frames, keys = 9, [0, 5, 8]
    holes = [_moved(HOLE, speed, t) for t in range(n_frames)]
    drawn = {k: texture(speed[0] * k, speed[1] * k, phase=1.0) for k in keys}
    layers = carry(motion_of(keys, n_frames, speed), drawn, holes, n_frames)
    for t, layer in enumerate(layers):
        assert layer is not None
        wanted = texture(speed[0] * t, speed[1] * t, phase=1.0)
        error = (inside(layer, holes[t]) - inside(wanted, holes[t])).abs()
        assert error.mean() < 0.01
        # The border moves by whole pixels, what it shows by fractions.
        assert error[..., 2:-2, 2:-2].max() < 0.03


def _moved(hole: Window, speed: tuple[float, float], t: int) -> Window:
    x, y = round(speed[0] * t), round(speed[1] * t)
    return hole[0] + x, hole[1] + y, hole[2] + x, hole[3] + y


def test_found_motion_carries_as_well_as_known_motion() -> None:
    real = clip(0.5, 7)
    holes = [_moved(HOLE, (0.5, 0), t) for t in range(7)]
    motion = find_keys(real, holes, DIS, Propagation.parse("fixed:6"))
    drawn = {k: texture(0.5 * k, phase=1.0) for k in motion.keys}
    for t, layer in enumerate(carry(motion, drawn, holes, 7)):
        assert layer is not None
        wanted = inside(texture(0.5 * t, phase=1.0), holes[t])
        assert (inside(layer, holes[t]) - wanted).abs().mean() < 0.02
        still = inside(texture(phase=1.0), holes[t])
        if t >= 3:
            assert (inside(layer, holes[t]) - still).abs().mean() > 0.05


def test_keys_are_laid_as_they_were_drawn() -> None:
    drawn = {0: texture(phase=1.0), 3: texture(phase=2.0)}
    layers = carry(motion_of([0, 3], 4, (0.3, 0.3)), drawn, [HOLE] * 4, 4)
    for key in (0, 3):
        layer = layers[key]
        assert layer is not None
        assert torch.equal(inside(layer), inside(drawn[key]))


def test_only_pixels_inside_the_hole_of_a_key_are_used() -> None:
    torch.manual_seed(0)
    n_frames, keys = 6, [0, 5]
    holes = [(16 + t, 12 + t, 44 + t, 40 + 2 * t) for t in range(n_frames)]
    drawn = {}
    for k in keys:
        image = torch.full((3, SIDE, SIDE), 99.0)
        inside(image, holes[k])[:] = 0.25 + 0.5 * (k == 5)
        drawn[k] = image
    motion = motion_of(keys, n_frames, (0, 0))
    for pair, (flow, trust) in motion.links.items():
        # Motion to anywhere, also out of the crop, at fractions of a pixel.
        motion.links[pair] = torch.randn(flow.shape) * 40, torch.rand(trust.shape)
    for layer in carry(motion, drawn, holes, n_frames):
        assert layer is not None
        assert layer.min() > 0.2499
        assert layer.max() < 0.7501


def test_carried_faces_are_as_sharp_as_drawn_ones() -> None:
    # Sampling at half pixels and mixing two faces that differ a little cost contrast.
    def fine(phase: float) -> Tensor:
        y, x = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
        return 0.4 * torch.sin(x * 1.6 + phase).mul(torch.cos(y * 1.5)).expand(3, -1, -1)

    def contrast(layer: Tensor | None) -> float:
        assert layer is not None
        return float(inside(layer).std())

    drawn = {0: fine(0.0), 8: fine(0.6)}
    motion = motion_of([0, 8], 9, (0, 0))
    for pair, (flow, trust) in motion.links.items():
        motion.links[pair] = flow + 0.5, trust
    layers = carry(motion, drawn, [HOLE] * 9, 9)
    for layer in layers[1:8]:
        assert 0.96 < contrast(layer) / contrast(layers[0]) < 1.04


@pytest.mark.parametrize("present", [0, 5])
def test_a_key_that_could_not_be_drawn_is_replaced_by_the_other(present: int) -> None:
    speed = (0.4, 0.2)
    drawn = {present: texture(speed[0] * present, speed[1] * present, phase=1.0)}
    holes = [_moved(HOLE, speed, t) for t in range(6)]
    layers = carry(motion_of([0, 5], 6, speed), drawn, holes, 6)
    assert layers[5 - present] is None  # its frame stays blurred
    for t in range(1, 5):
        layer = layers[t]
        assert layer is not None
        wanted = texture(speed[0] * t, speed[1] * t, phase=1.0)
        error = (layer - wanted).abs()[..., 22:42, 22:42]
        assert error.max() < 0.03


def test_without_any_key_nothing_is_carried() -> None:
    drawn = {0: texture(), 2: texture()}
    layers = carry(motion_of([0, 2, 5, 8, 10], 11, (0, 0)), drawn, [HOLE] * 11, 11)
    assert [t for t, layer in enumerate(layers) if layer is None] == [5, 6, 7, 8, 9, 10]
    assert carry(motion_of([0, 3], 4, (0, 0)), {}, [HOLE] * 4, 4) == [None] * 4


def test_one_key_gives_way_to_the_other_without_a_step() -> None:
    drawn = {0: torch.full((3, SIDE, SIDE), -1.0), 10: torch.full((3, SIDE, SIDE), 1.0)}
    layers = carry(motion_of([0, 10], 11, (0, 0)), drawn, [HOLE] * 11, 11)
    levels = torch.stack([layer.mean() for layer in layers if layer is not None])
    assert len(levels) == 11
    steps = levels.diff()
    assert (steps > 0).all()
    assert steps.max() < 0.32  # of 2 in ten steps
    assert max(steps[0], steps[-1]) < 0.1
    torch.testing.assert_close(levels, -levels.flip(0))


def test_the_key_that_can_be_followed_wins() -> None:
    motion = motion_of([0, 4], 5, (0, 0))
    for (frame, key), (flow, trust) in list(motion.links.items()):
        trusted = trust.clone()
        trusted[..., :32] = float(key == 0)
        trusted[..., 32:] = float(key == 4)
        motion.links[frame, key] = flow, trusted
    drawn = {0: torch.full((3, SIDE, SIDE), -1.0), 4: torch.full((3, SIDE, SIDE), 1.0)}
    layer = carry(motion, drawn, [HOLE] * 5, 5)[2]
    assert layer is not None
    assert layer[..., :32].max() < -0.9
    assert layer[..., 32:].min() > 0.9


# ---------------------------------------------------------------------- growing


def test_the_border_of_the_hole_goes_on_outwards() -> None:
    image = torch.arange(3.0 * 6 * 8).reshape(3, 6, 8)
    grown = grow_hole(image, (2, 1, 5, 4))
    assert torch.equal(grown[:, 1:4, 2:5], image[:, 1:4, 2:5])
    assert torch.equal(grown[:, 0], grown[:, 1])
    assert torch.equal(grown[:, 5], grown[:, 3])
    assert torch.equal(grown[:, :, 0], grown[:, :, 2])
    assert torch.equal(grown[:, :, 7], grown[:, :, 4])
    assert (grown[:, 4:, 5:] == image[:, 3, 4][:, None, None]).all()
    assert torch.equal(grow_hole(image, (0, 0, 8, 6)), image)
    one = grow_hole(image, (3, 2, 4, 3))
    assert torch.equal(one, image[:, 2:3, 3:4].expand(3, 6, 8))
