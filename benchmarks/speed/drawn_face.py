"""How long one drawn face of 256 pixels takes: the fast form of the network, and plain PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from benchmarks.common import Row, in_turns, summary
from dp3_lightning.anonymize.rendering.mesh.people import DrawnFace, PersonPainter
from dp3_lightning.checks import check_at_least
from dp3_lightning.faces.mesh import FaceMesh
from dp3_lightning.generators import load_generator
from dp3_lightning.generators.face_prior.adapter import FacePriorGenerator
from dp3_lightning.generators.face_prior.fast import FastSynthesis
from dp3_lightning.generators.face_prior.synthesis import W_DIM
from dp3_lightning.randomness import keyed_generator

SIZE = 256
MOST_MS = {"fast form": 60.0, "plain PyTorch": 200.0}
_SPREAD = 0.6  # of latents: what people who fit come to


def drawn_face_times(repeats: int = 30) -> tuple[list[Row], list[Row]]:
    """Time the network alone, and a face drawn and measured (mesh, pose and expression).

    Args:
        repeats: faces per form; all draw the same ones, by turns.

    Returns:
        Rows and targets; these are for a face drawn and measured, which a key face costs.
    """
    check_at_least(1, repeats=repeats)
    random = keyed_generator(0, "drawn faces")
    latents = _SPREAD * torch.randn(repeats + 2, W_DIM, generator=random)
    forms = {name: _painter(plain=name == "plain PyTorch") for name in MOST_MS}
    ways: dict[str, Callable[[int], object]] = {}
    for name, painter in forms.items():
        ways[f"{name}, network"] = partial(_network, painter, latents)
        ways[f"{name}, drawn and measured"] = partial(_drawn, painter, latents)
    seconds = in_turns(ways, repeats, warmup=2)
    times = {name: summary([1e3 * value for value in values]) for name, values in seconds.items()}
    rows = [{"way": name, "ms per face": values} for name, values in times.items()]
    return rows, targets({name: times[f"{name}, drawn and measured"]["median"] for name in forms})


def targets(milliseconds: dict[str, float]) -> list[Row]:
    """Compare times per face with what they may be."""
    return [
        {
            "target": f"a face at {SIZE} px, {name}: at most {most:g} ms",
            "measured": round(milliseconds[name], 1),
            "met": milliseconds[name] <= most,
        }
        for name, most in MOST_MS.items()
    ]


def _network(painter: PersonPainter, latents: Tensor, number: int) -> Tensor:
    styles = painter.generator.space.color(latents[number])
    return painter.generator.fast(styles[None], SIZE)


def _drawn(painter: PersonPainter, latents: Tensor, number: int) -> DrawnFace:
    return painter.draw(latents[number].double().numpy())


def _painter(plain: bool) -> PersonPainter:
    generator = load_generator("face-prior")
    if not isinstance(generator, FacePriorGenerator):
        raise TypeError(f"Expected the face prior, got {type(generator).__name__}.")
    generator.eval()
    if plain:
        generator.fast = FastSynthesis(generator.synthesis, "32", "torch")
    return PersonPainter(generator, FaceMesh(), SIZE)
