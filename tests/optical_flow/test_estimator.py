from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from dp3_lightning.data.synthetic import synthetic_clip
from dp3_lightning.optical_flow import DISFlow, FarnebackFlow, FlowEstimator, RAFTFlow

CPU_ESTIMATORS = [DISFlow(), DISFlow("medium"), FarnebackFlow()]


def texture(height: int = 96, width: int = 96, seed: int = 0) -> Tensor:
    clip = synthetic_clip(n_frames=1, size=(height, width), seed=seed)
    return torch.from_numpy(clip.frames).permute(0, 3, 1, 2).float() / 127.5 - 1


def pair() -> tuple[Tensor, Tensor]:
    """The content of source lies 3 px right and 1 px up in target."""
    source = texture()
    return source, torch.roll(source, (-1, 3), dims=(2, 3))


@pytest.mark.parametrize("estimator", CPU_ESTIMATORS, ids=lambda e: e.name)
def test_sign_and_axes(estimator: FlowEstimator) -> None:
    flow = estimator(*pair())
    assert flow.shape == (1, 2, 96, 96)
    assert flow.dtype == torch.float32
    dx, dy = flow[0, :, 16:-16, 16:-16].flatten(1).median(dim=1).values.tolist()
    assert dx == pytest.approx(3, abs=0.1)
    assert dy == pytest.approx(-1, abs=0.1)


@pytest.mark.parametrize(
    ("estimator", "bound"),  # measured over 12 clips: 0.23, 0.34, 0.60 px; zero flow 1.6 px
    [(DISFlow(), 0.35), (DISFlow("medium"), 0.5), (FarnebackFlow(), 0.8)],
    ids=lambda value: getattr(value, "name", None),
)
def test_endpoint_error_on_talking_faces(estimator: FlowEstimator, bound: float) -> None:
    errors, zero = [], []
    for seed in (0, 1):
        clip = synthetic_clip(seed, 4, (128, 128), seed=seed, occluder=seed == 1, noise=2.0)
        frames = torch.from_numpy(clip.frames).permute(0, 3, 1, 2).float() / 127.5 - 1
        exact, seen = torch.from_numpy(clip.flow_to_previous), clip.visible_in_previous
        mask = torch.from_numpy(seen)
        flow = estimator(frames[1:], frames[:-1])
        errors.append((flow - exact).norm(dim=1)[mask])
        zero.append(exact.norm(dim=1)[mask])
    error, still = torch.cat(errors).mean(), torch.cat(zero).mean()
    assert error < bound
    assert still > 2 * error


def test_no_gradient_and_any_float_type() -> None:
    source, target = pair()
    flow = DISFlow()(source.requires_grad_(), target)
    assert not flow.requires_grad
    assert DISFlow()(source.bfloat16(), target.bfloat16()).dtype == torch.float32
    assert DISFlow()(source[:0], target[:0]).shape == (0, 2, 96, 96)


def test_a_batch_is_its_pairs() -> None:
    a, b, c = texture(64, 64, 1), texture(64, 64, 2), texture(64, 64, 3)
    flow = DISFlow()(torch.cat([a, b]), torch.cat([b, c]))
    assert torch.equal(flow, torch.cat([DISFlow()(a, b), DISFlow()(b, c)]))


@pytest.mark.parametrize("preset", ["ultrafast", "fast", "medium", "fine"])
def test_dis_forgets_earlier_images(preset: str) -> None:
    # OpenCV's object keeps the scales it chose for a small image, if one lets it choose.
    fresh, used = DISFlow(preset), DISFlow(preset)  # type: ignore[arg-type]
    for height, width in ((40, 40), (16, 100), (64, 64)):
        used(texture(height, width, 1), texture(height, width, 2))
    assert torch.equal(used(*pair()), fresh(*pair()))


@pytest.mark.parametrize("preset", ["ultrafast", "fast", "medium", "fine"])
@pytest.mark.parametrize("size", [(8, 8), (16, 100), (31, 256), (100, 12), (1, 1)])
def test_small_and_thin_images(preset: str, size: tuple[int, int]) -> None:
    # Several of these kill the process when OpenCV gets them as they are.
    generator = torch.Generator().manual_seed(0)
    source, target = (torch.rand(2, 1, 3, *size, generator=generator) * 2 - 1).unbind(0)
    flow = DISFlow(preset)(source, target)  # type: ignore[arg-type]
    assert flow.shape == (1, 2, *size)
    assert torch.isfinite(flow).all()


@pytest.mark.parametrize("estimator", [*CPU_ESTIMATORS, RAFTFlow()], ids=lambda e: e.name)
def test_pickle(estimator: FlowEstimator) -> None:
    if not isinstance(estimator, RAFTFlow):
        estimator(*pair())  # an OpenCV object exists now, and must not travel
    copy = pickle.loads(pickle.dumps(estimator))
    assert copy.name == estimator.name
    if not isinstance(estimator, RAFTFlow):
        assert torch.equal(copy(*pair()), estimator(*pair()))


def test_threads_share_an_estimator() -> None:
    source, target = pair()
    estimator = DISFlow()
    expected = estimator(source, target)
    with ThreadPoolExecutor(4) as pool:
        flows = list(pool.map(lambda _: estimator(source, target), range(12)))
    assert all(torch.equal(flow, expected) for flow in flows)


class FlowOfPairs:
    def __init__(self) -> None:
        self.estimator = DISFlow()

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> Tensor:
        return self.estimator(*pair())[0]


def test_data_loader_workers_after_use_in_the_main_process() -> None:
    data = FlowOfPairs()
    expected = data[0]
    loader: DataLoader[Tensor] = DataLoader(data, num_workers=1, timeout=60)  # type: ignore[arg-type]
    assert all(torch.equal(flow[0], expected) for flow in loader)


def test_wrong_inputs_are_named() -> None:
    good = torch.zeros(1, 3, 32, 32)
    bad = good.clone()
    bad[0, 0, 0, 0] = float("inf")
    with pytest.raises(ValueError, match=r"target.*not finite"):
        DISFlow()(good, bad)
    with pytest.raises(ValueError, match=r"\(1, 3, 32, 31\)"):
        DISFlow()(good, good[..., 1:])
    with pytest.raises(ValueError, match=r"\(1, 1, 32, 32\)"):
        DISFlow()(good[:, :1], good[:, :1])
    with pytest.raises(TypeError, match="uint8"):
        FarnebackFlow()(good.byte(), good.byte())
    with pytest.raises(ValueError, match="255"):
        FarnebackFlow()(good + 255, good)
    with pytest.raises(ValueError, match="slow"):
        DISFlow("slow")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="huge"):
        RAFTFlow(size="huge")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="not both"):
        RAFTFlow("w.pth", pretrained=False)


class Eight(nn.Module):
    """Stands in for RAFT: says that everything moves by (8, 8) px of its own input."""

    def forward(self, source: Tensor, target: Tensor) -> list[Tensor]:
        self.seen = tuple(source.shape[2:])
        return [torch.full_like(source[:, :2], 8.0)]


@pytest.mark.parametrize(
    ("size", "inner"), [((64, 96), (128, 128)), ((130, 200), (136, 200)), ((128, 256), (128, 256))]
)
def test_raft_scales_sides_and_values(size: tuple[int, int], inner: tuple[int, int]) -> None:
    estimator, network = RAFTFlow(pretrained=False), Eight()
    estimator._network = network
    flow = estimator(torch.zeros(2, 3, *size), torch.zeros(2, 3, *size))
    assert network.seen == inner
    assert flow.shape == (2, 2, *size)
    assert flow[:, 0].mean().item() == pytest.approx(8 * size[1] / inner[1])
    assert flow[:, 1].mean().item() == pytest.approx(8 * size[0] / inner[0])


def need_torchvision() -> None:
    try:
        import torchvision.models.optical_flow  # noqa: F401
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"torchvision cannot be imported here: {error}")


def test_raft_network(tmp_path: Path) -> None:
    need_torchvision()
    state = torch.get_rng_state()
    estimator = RAFTFlow(pretrained=False)
    flow = estimator(texture(72, 100), texture(72, 100, seed=1))
    assert torch.equal(torch.get_rng_state(), state)
    assert flow.shape == (1, 2, 72, 100)
    assert torch.isfinite(flow).all()
    assert estimator._network is not None
    path = tmp_path / "small.pth"
    torch.save(estimator._network.state_dict(), path)
    loaded = RAFTFlow(path)
    assert loaded.name == "raft-small-small"
    assert torch.equal(loaded(texture(72, 100), texture(72, 100, seed=1)), flow)
    with pytest.raises(ValueError, match="raft_large"):
        RAFTFlow(path, size="large")(texture(64, 64), texture(64, 64))
    with pytest.raises(ValueError, match=r"missing\.pth"):
        RAFTFlow(tmp_path / "missing.pth")(texture(64, 64), texture(64, 64))


def test_raft_without_network_access_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    need_torchvision()
    from torchvision.models.optical_flow import Raft_Small_Weights

    def unreachable(self: object, **_: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(Raft_Small_Weights, "get_state_dict", unreachable)
    with pytest.raises(RuntimeError, match=r"no route to host.*`weights`"):
        RAFTFlow()(texture(64, 64), texture(64, 64))
