"""Do other draws give other people? Stills of up to ten faces, drawn over and over."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.common import Row
from benchmarks.quality.identities import Judge, deciding, pairs_of, told_apart
from benchmarks.quality.intervals import bootstrap
from benchmarks.quality.report import Face
from dp3_lightning.anonymize import (
    CheckOptions,
    Drawing,
    OutputOptions,
    PersonOptions,
    Settings,
    anonymize_video,
)
from dp3_lightning.anonymize.picture_job import plan_of_picture, read_picture, write_picture
from dp3_lightning.anonymize.planning.plan import Plan
from dp3_lightning.assets import ASSETS, asset_path
from dp3_lightning.faces import CenterFace
from dp3_lightning.structures import FloatArray
from dp3_lightning.video import VideoReader

N_DRAWS = 20
LEAST_APART = 0.8
BOTH = "both judges"
MOST_FACES = 10
SOURCES = ("group_photo", "speech", "smile", "actress", "carphone", "portrait_obama")

Render = Callable[[Path, Callable[[], object]], None]


def still_of(name: str, folder: Path) -> Path:
    """Write one frame of a sample, the middle one of a clip, as a picture; return its file."""
    path = folder / f"{name}.png"
    if not path.is_file():
        source = asset_path(name)
        if ASSETS[name].kind == "picture":
            picture = read_picture(source)
        else:
            with VideoReader(source) as video:
                picture = video.frame(len(video) // 2)
        write_picture(path, picture)
    return path


def diversity(
    folder: Path,
    drawing: Drawing,
    judges: Sequence[Judge],
    rendered: Render,
    n_draws: int = N_DRAWS,
) -> list[Face]:
    """Draw every face ``n_draws`` times, and let judges compare the draws.

    Args:
        folder: of the stills; what is there is not drawn again.
        drawing: what draws.
        judges: recognisers, among them the two that drawing does not ask.
        rendered: called with an output and what makes it, which it does where it must.
        n_draws: seeds 0, 1, ...

    Returns:
        Per face and judge: the share of pairs of draws that are ``told apart``, the share of draws
        that are ``recognised`` as the real person, and how many draws show a face.
    """
    folder.mkdir(parents=True, exist_ok=True)
    faces: list[Face] = []
    for name in SOURCES:
        source = still_of(name, folder)
        plan = plan_of_picture(source, Settings(), CenterFace(0.5, runtime="auto"))
        outputs = []
        for seed in range(n_draws):
            output = folder / f"{name}_{seed}.png"
            rendered(output, partial(_draw, source, output, drawing, plan, seed))
            outputs.append(output)
        faces += _compare(name, source, outputs, plan, judges)
        if len(faces) >= MOST_FACES:
            break
    return faces[:MOST_FACES]


def _draw(source: Path, output: Path, drawing: Drawing, plan: Plan, seed: int) -> None:
    settings = Settings(
        people=PersonOptions(seed=seed),
        output=OutputOptions(overwrite=True),
        check=CheckOptions(verify=False, identity_check="off"),
    )
    anonymize_video(source, output, drawing, settings=settings, plan=plan)


def _compare(
    name: str, source: Path, outputs: Sequence[Path], plan: Plan, judges: Sequence[Judge]
) -> list[Face]:
    pictures = [read_picture(path) for path in outputs]
    original = read_picture(source)
    faces = []
    for number, track in enumerate(plan.tracks):
        face: Face = {"clip": name, "track": number, "seed": len(outputs)}
        found = {}
        for judge in judges:
            real = judge.embedder(original, track.boxes[0])
            found[judge.name] = [judge.embedder(picture, track.boxes[0]) for picture in pictures]
            draws = np.array([vector for vector in found[judge.name] if vector is not None])
            face |= diversity_values(judge, real, draws)
        faces.append(face | agreed_values(deciding(judges), found))
    return faces


def diversity_values(judge: Judge, real: FloatArray | None, draws: FloatArray) -> Face:
    """What a judge makes of several draws ``(n, D)`` for one face."""
    apart = told_apart(judge, draws)
    recognised = None
    if real is not None and len(draws):
        alike = judge.similarities(real[None], draws)[0]
        recognised = float((alike > judge.threshold.value).mean())
    return {
        f"{judge.name} told apart": apart if np.isfinite(apart) else None,
        f"{judge.name} recognised": recognised,
        f"{judge.name} draws": len(draws),
    }


def agreed_values(
    judges: Sequence[Judge], found: Mapping[str, Sequence[FloatArray | None]]
) -> Face:
    """Pairs of draws that every judge tells apart.

    Args:
        judges: recognisers that drawing does not ask.
        found: judge to a vector per draw; None where it finds no face.
    """
    whole = [
        n
        for n, row in enumerate(zip(*(found[j.name] for j in judges), strict=True))
        if all(vector is not None for vector in row)
    ]
    values: Face = {f"{BOTH} told apart": None, f"{BOTH} draws": len(whole)}
    if len(whole) > 1:
        apart = [
            pairs_of(judge.similarities(draws, draws)) <= judge.threshold.value
            for judge in judges
            for draws in [np.array([found[judge.name][n] for n in whole])]
        ]
        values[f"{BOTH} told apart"] = float(np.logical_and.reduce(apart).mean())
    return values


def pooled_targets(faces: Sequence[Face], judges: Sequence[str]) -> list[Row]:
    """Judge the share of all pairs of all faces, with its interval over faces."""
    rows: list[Row] = []
    for judge in judges:
        figure = f"{judge} told apart"
        shares = [np.array([f[figure]]) for f in faces if f.get(figure) is not None]
        mean = float(np.mean(shares)) if shares else None
        ends = bootstrap(shares, lambda values: float(values.mean()))
        between = "" if ends is None else f" ({ends[0]:.3g} to {ends[1]:.3g})"
        rows.append(
            {
                "target": f"pairs of draws that {judge} told apart: at least {LEAST_APART}",
                "measured": "not measured"
                if mean is None
                else f"{mean:.3g}{between}, {len(shares)} faces",
                "met": None if mean is None else mean >= LEAST_APART,
            }
        )
    return rows
