"""The face prior, measured: does a drawn face move as the real one, hide it, and look like skin?

Method. Every sample clip is anonymized once per seed (no check, crf 12), and every face track of at
least eight frames is measured beside the original; each video is followed on its own.
Motion: Pearson correlation over frames of mesh coordinates (median over the mesh; "frontal": with
the head's motion taken out, the four fifths that move most) and of seven signals. The ceiling is
the original recompressed frame by frame as JPEG 60; what has a ceiling below 0.9 is not judged.
dlib's five points say the same without MediaPipe's mesh.
Steadiness: warping error in the face box as a share of the original's (Farneback).
Identity, on up to 24 frames of a track: SFace, which drawing itself asks, dlib and MobileFaceNet,
which it does not. Constancy: mean similarity of two frames of a track.
Look: CIELAB difference (1976) of the cheeks; variance of the Laplacian inside the outline.
Diversity: 20 draws for each of ten faces in stills; pairs that count as two people, to each judge
and to both that drawing does not ask. Thresholds: those of `thresholds.py`, else documented ones.
What was rendered and measured lies in --work, and is not done again unless the code or the weights
that did it have changed. Strips of pictures lie there too: they show real faces.

    python -m benchmarks.quality.face_prior --work FOLDER [--clips smile carphone] [--seeds 0 1 2]
    python -m benchmarks.quality.face_prior --work FOLDER --diversity
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import dp3_lightning
from benchmarks.common import RESULTS, add_draft, markdown_table, metadata, write_results
from benchmarks.quality import report
from benchmarks.quality.diversity import BOTH, N_DRAWS, diversity, pooled_targets
from benchmarks.quality.identities import Judge, deciding, judges_at_hand
from benchmarks.quality.tracks import Original
from benchmarks.quality.watching import Observer
from dp3_lightning.anonymize import Drawing
from dp3_lightning.assets import asset_path
from dp3_lightning.evaluation.rendering import detected_plan, render
from dp3_lightning.generators.face_prior.latent_model import LatentModel

CLIPS = ("carphone", "speech", "smile", "actress")
_PACKAGE = Path(dp3_lightning.__file__).parent
_DRAWS = ("anonymize", "faces", "generators/face_prior")
_MEASURES = ("anonymize/mesh_rendering", "evaluation", "faces", "metrics", "optical_flow")


def digest_of(folders: Sequence[Path]) -> str:
    """SHA-256 over code and weights in folders."""
    digest = hashlib.sha256()
    for folder in folders:
        for file in sorted(folder.rglob("*")):
            if file.suffix in (".py", ".safetensors"):
                digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()


@dataclass
class Work:
    """What was done already, by the code and weights as they are.

    Attributes:
        folder: where it lies.
        drawn_by: digest of what draws.
        measured_by: digest of what measures.
    """

    folder: Path
    drawn_by: str = field(default_factory=lambda: digest_of([_PACKAGE / f for f in _DRAWS]))
    measured_by: str = field(
        default_factory=lambda: digest_of(
            [*(_PACKAGE / name for name in _MEASURES), Path(__file__).parent]
        )
    )

    def rendered(self, output: Path, draw: Callable[[], object]) -> None:
        """Draw an output unless it is there."""
        note = output.with_suffix(".drawn_by")
        if not (output.is_file() and note.is_file() and note.read_text() == self.drawn_by):
            note.unlink(missing_ok=True)
            draw()
            note.write_text(self.drawn_by)

    def measured(
        self, name: str, key: Sequence[str], measure: Callable[[], list[report.Face]]
    ) -> list[report.Face]:
        """Return what was measured, or measure; without NaN, as JSON has it."""
        file = self.folder / f"{name}.json"
        wanted = [self.drawn_by, self.measured_by, *key]
        if file.is_file() and (known := json.loads(file.read_text()))["key"] == wanted:
            faces: list[report.Face] = known["faces"]
            return faces
        found = [{name: _plain(value) for name, value in face.items()} for face in measure()]
        file.write_text(json.dumps({"key": wanted, "faces": found}, allow_nan=False))
        return found


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def motion_and_looks(
    work: Work,
    drawing: Drawing,
    judges: Sequence[Judge],
    clips: Sequence[str],
    seeds: Sequence[int],
) -> list[report.Face]:
    """Render and measure clips; a face per track and seed."""
    observer, reference = Observer(judges), LatentModel.load().reference
    names = [f"{judge.name} {judge.threshold.value}" for judge in judges]
    cache = work.folder / "detections"
    faces = []
    for clip in clips:
        source = asset_path(clip)
        original = Original(source, detected_plan(source, cache), observer)
        for seed in seeds:
            output = work.folder / f"{clip}_{seed}.mp4"
            work.rendered(output, partial(render, source, output, drawing, cache, seed=seed))
            strips = f"strip_{clip}_{{}}_{seed}.png"
            measure = partial(original.measure, output, reference, strips)
            found = work.measured(output.stem, names, measure)
            faces += [report.with_shares({"clip": clip, "seed": seed, **f}) for f in found]
            print(f"{clip}, seed {seed}: measured", flush=True)
    return faces


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="folder that is gone on with")
    parser.add_argument("--clips", nargs="+", choices=CLIPS, default=list(CLIPS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--diversity", action="store_true", help="measure that, and only that")
    parser.add_argument("--draws", type=int, default=N_DRAWS, help="of --diversity")
    parser.add_argument("--mobilefacenet", type=Path, help="file of its network, a third judge")
    parser.add_argument("--output", type=Path, help="results; default: in the repository")
    add_draft(parser)
    options = parser.parse_args()
    before = metadata("cpu", options.draft)
    options.work.mkdir(parents=True, exist_ok=True)
    work, drawing = Work(options.work), Drawing.prepare("face-prior")
    judges = judges_at_hand(options.mobilefacenet)
    names = [judge.name for judge in judges]
    thresholds = [f"{judge.name} {judge.threshold.value}" for judge in judges]
    settings: dict[str, Any] = {"generator": drawing.name, "weights": drawing.sha256[:8]}
    for judge in judges:
        settings[f"threshold of {judge.name}"] = (
            f"{judge.threshold.value} ({judge.threshold.origin})"
        )
    if options.diversity:
        deciding(judges)
        stills = work.folder / "stills"
        faces = work.measured(
            "diversity",
            [*thresholds, str(options.draws)],
            lambda: diversity(stills, drawing, judges, work.rendered, options.draws),
        )
        everyone = [*names, BOTH]
        tables = [report.diversity_table(faces, everyone)]
        targets = pooled_targets(faces, everyone)
        settings["draws"] = options.draws
    else:
        faces = motion_and_looks(work, drawing, judges, options.clips, options.seeds)
        tables = [report.table(faces), report.identity_table(faces, names)]
        tables.append(report.signal_table(faces))
        targets = report.verdicts(faces)
        settings["seeds"] = ", ".join(map(str, options.seeds))
    kind = "diversity" if options.diversity else "quality"
    output = options.output or RESULTS / f"face_prior_{kind}--cpu.json"
    results = {"rows": tables[0], "targets": targets, "faces": faces}
    write_results(output, {"metadata": before, "settings": settings, "results": results})
    for rows in (*tables, targets):
        print(f"\n{markdown_table(rows)}")


if __name__ == "__main__":
    main()
