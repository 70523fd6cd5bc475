"""One key, one person: is somebody drawn by a pseudonym key the same in every video and picture?

Method. Portraits and stills with one face each, and two stretches of sample clips, are anonymized
with several keys; the person has one label everywhere, and checks are those a user has. All pairs
of sources of one key are compared: of one real person, and of different ones, whose surroundings
differ more. A clip counts by the mean of eight frames. The control: pairs of different keys on one
source, which are to be two people. Intervals come from drawing keys again. Faces that were blurred
are not compared, and counted. Rows lie in --work, which is gone on with.

    python -m benchmarks.quality.pseudonyms --work FOLDER --mobilefacenet FILE
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import RESULTS, add_draft, markdown_table, metadata, write_results
from benchmarks.quality import journal
from benchmarks.quality.face_prior import Work
from benchmarks.quality.identities import Judge, deciding, judges_at_hand
from benchmarks.quality.key_pairs import pairs, shares, targets
from benchmarks.quality.still_faces import DRAWN, output_of, verdict_of
from benchmarks.quality.still_report import compact
from benchmarks.quality.still_sources import Still, chosen_stills
from dp3_lightning.anonymize import (
    Drawing,
    OutputOptions,
    PersonOptions,
    Settings,
    plan_video,
)
from dp3_lightning.anonymize.manifest import read_manifest
from dp3_lightning.anonymize.picture_job import anonymize_picture, plan_of_picture, read_picture
from dp3_lightning.anonymize.planning.plan import Plan, PlannedTrack
from dp3_lightning.anonymize.video_job import VideoJob
from dp3_lightning.assets import asset_path
from dp3_lightning.checks import check_at_least
from dp3_lightning.faces import CenterFace
from dp3_lightning.structures import UInt8Array
from dp3_lightning.video import VIDEO_SUFFIXES, VideoReader, write_video

CLIPS = ("smile", "carphone", "actress")
_STRETCH, _LOOKS = 40, 8  # frames of a stretch, and of them that are compared
_LABEL = "somebody"


def key_of(seed: int, number: int) -> str:
    """Return a pseudonym key that nobody chose."""
    return hashlib.sha256(f"key {number} of {seed}".encode()).hexdigest()


def stretches(name: str, folder: Path) -> list[Still]:
    """Cut the first and the last frames out of a sample clip."""
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    with VideoReader(asset_path(name)) as reader:
        for part, start in (("first", 0), ("last", len(reader) - _STRETCH)):
            path = folder / f"{name}_{part}.mp4"
            if not path.is_file():
                frames = reader.frames(max(start, 0), max(start, 0) + _STRETCH)
                write_video(path, frames, reader.average_rate, crf=12)
            found.append(Still(f"{name}/{part}", path, name))
    return found


@dataclass
class KeyStudy:
    """Draws sources with keys, and embeds who was drawn.

    Attributes:
        drawing: what draws.
        judges: recognisers.
        folder: of what is made.
        seed: of the keys.
    """

    drawing: Drawing
    judges: Sequence[Judge]
    folder: Path
    seed: int
    detector: CenterFace = field(default_factory=lambda: CenterFace(0.5, runtime="auto"))

    def plan_of(self, source: Still) -> Plan | None:
        """Plan a source with everybody under one label; None unless one face is drawn."""
        if source.path.suffix in VIDEO_SUFFIXES:
            plan = plan_video(source.path, self.detector, Settings().plan, self.folder / "cache")
        else:
            plan = plan_of_picture(source.path, Settings(), self.detector)
        if len(plan.tracks) != 1:
            return None
        plan.tracks[0] = dataclasses.replace(plan.tracks[0], person=_LABEL)
        return plan

    def draw(self, source: Still, number: int) -> dict[str, Any]:
        """Draw a source with a key.

        Returns:
            ``why`` no face can be compared (empty: it can), and ``vectors`` by judge.
        """
        plan = self.plan_of(source)
        if plan is None:
            return {"why": "not one face", "vectors": {}}
        output = output_of(self.folder, f"{source.name}_{number}")
        still = source.path.suffix not in VIDEO_SUFFIXES
        if not still:
            output = output.with_suffix(source.path.suffix)
        settings = Settings(
            people=PersonOptions(pseudonym_key=key_of(self.seed, number)),
            output=OutputOptions(overwrite=True, crf=12),
        )
        how = (source.path, output, self.drawing, settings, self.detector, plan)
        if still:
            anonymize_picture(*how)
        else:
            VideoJob(*how).run()
        record = read_manifest(output)
        if record is None:
            raise ValueError(f"No manifest beside {str(output)!r}: it was made by another version.")
        verdict, why = verdict_of(record, 0)
        if (still and verdict != DRAWN) or record["tracks"][0]["action"] == "blur":
            return {"why": why or "blurred", "vectors": {}}
        failed = {f["frame"] for f in record["failures"] if f["blurred"]}
        return {"why": "", "vectors": self._vectors(output, plan.tracks[0], failed)}

    def _vectors(
        self, output: Path, track: PlannedTrack, failed: set[int]
    ) -> dict[str, list[float] | None]:
        frames = looks(output, track, failed)
        found: dict[str, list[float] | None] = {}
        for judge in self.judges:
            seen = [judge.embedder(frame, box) for frame, box in frames]
            known = [vector for vector in seen if vector is not None]
            found[judge.name] = np.mean(known, axis=0).round(5).tolist() if known else None
        return found


def looks(
    output: Path, track: PlannedTrack, failed: set[int]
) -> list[tuple[UInt8Array, Sequence[float]]]:
    """Return frames in which a face was drawn, spread over the track, with its box."""
    if output.suffix not in VIDEO_SUFFIXES:
        return [(read_picture(output), track.boxes[0])]
    seen = [
        at
        for at, origin in enumerate(track.origins)
        if origin != "padded" and track.start + at not in failed
    ]
    places = np.linspace(0, len(seen) - 1, min(_LOOKS, len(seen))).astype(int)
    with VideoReader(output) as reader:
        return [(reader.frame(track.start + seen[i]), track.boxes[seen[i]]) for i in places]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="folder that is gone on with")
    parser.add_argument("--stills", type=int, default=20, help="portraits first")
    parser.add_argument("--clips", nargs="*", choices=CLIPS, default=list(CLIPS))
    parser.add_argument("--keys", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--mobilefacenet", type=Path, help="file of its network, a judge")
    parser.add_argument("--output", type=Path, default=RESULTS / "face_prior_keys--cpu.json")
    add_draft(parser)
    options = parser.parse_args()
    check_at_least(1, keys=options.keys)
    before = metadata("cpu", options.draft)
    options.work.mkdir(parents=True, exist_ok=True)
    sources = chosen_stills(options.work, options.stills, options.seed) if options.stills else []
    for name in options.clips:
        sources += stretches(name, options.work / "clips")
    drawing, judges = Drawing.prepare("face-prior"), judges_at_hand(options.mobilefacenet)
    deciding(judges)
    folder = options.work / f"keys{options.seed}-{Work(options.work).drawn_by[:8]}"
    study = KeyStudy(drawing, judges, folder, options.seed)
    by_name = {source.name: source for source in sources if source.name != "group_photo"}
    places = {f"{n}/{name}": (n, name) for n in range(options.keys) for name in by_name}
    file = folder / f"drawn-{'-'.join(judge.name for judge in judges)}.jsonl"

    def draw(text: str) -> dict[str, Any]:
        number, name = places[text]
        return study.draw(by_name[name], number)

    answers = {places[text]: found for text, found in journal.each(file, places, draw).items()}
    rows = pairs(answers, {source.name: source.people for source in sources}, judges)
    table, aims = shares(rows, judges), targets(rows)
    settings = {
        "generator": drawing.name,
        "weights": drawing.sha256,
        "keys": options.keys,
        "seed": options.seed,
        "sources": len(by_name),
        "drawn": f"{sum(not found['why'] for found in answers.values())} of {len(answers)}",
        **{f"threshold of {j.name}": f"{j.threshold.value} ({j.threshold.origin})" for j in judges},
    }
    results = {"rows": table, "targets": aims, "pairs": compact(rows)}
    write_results(options.output, {"metadata": before, "settings": settings, "results": results})
    print(f"\n{markdown_table(table)}\n\n{markdown_table(aims)}")


if __name__ == "__main__":
    main()
