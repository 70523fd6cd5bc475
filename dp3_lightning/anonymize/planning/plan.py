"""Read, write and check the plan of a video: its face tracks, and what is done to each.

It is a readable JSON file. A person may edit it before rendering: drop a false alarm, add a box,
let a face through for a recorded reason.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, get_args

from dp3_lightning.runtime.files import write_text

PLAN_VERSION = 1
Action = Literal["generate", "blur", "solid", "keep"]
Origin = Literal["detected", "filled", "padded", "edited"]
_BOX_DECIMALS = 2  # a hundredth of a pixel


@dataclass
class PlannedTrack:
    """Follow one face through consecutive frames.

    Attributes:
        person: label; tracks of one label get one pseudonym.
        start: index of the first frame.
        boxes: per frame ``(x0, y0, x1, y1)`` in pixels, float.
        origins: per frame, where the box is from.
        action: ``generate``, ``blur``, ``solid`` (black), or ``keep`` (the real face stays).
        reason: why, for ``blur`` and ``keep``; ``keep`` needs one.
    """

    person: str
    start: int
    boxes: list[tuple[float, float, float, float]]
    origins: list[Origin]
    action: Action = "generate"
    reason: str = ""

    @property
    def stop(self) -> int:
        """Return the index after the last frame."""
        return self.start + len(self.boxes)


@dataclass
class Plan:
    """List the faces of one video, and what is done to each.

    Attributes:
        video: file name, for people.
        sha256: of the video's content: a plan is for one file only.
        n_frames: number of frames.
        size: ``(height, width)`` in pixels.
        tracks: all faces, by first frame.
        cuts: frames that do not continue the one before.
        lost: frames that cannot be decoded.
        undetected: frames in which the detector failed; they are blurred as a whole.
        ignored: per frame with such a thing, boxes of detections that no track took in.
        settings: how the plan was made, for the record.
    """

    video: str
    sha256: str
    n_frames: int
    size: tuple[int, int]
    tracks: list[PlannedTrack]
    cuts: list[int] = field(default_factory=list)
    lost: list[int] = field(default_factory=list)
    undetected: list[int] = field(default_factory=list)
    ignored: dict[int, list[list[float]]] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)

    def boxes_at(self, frame: int) -> list[tuple[PlannedTrack, tuple[float, float, float, float]]]:
        """Return the tracks that cover a frame, with their boxes there."""
        return [
            (track, track.boxes[frame - track.start])
            for track in self.tracks
            if track.start <= frame < track.stop
        ]

    def with_blur(self, alike: Mapping[int, float], without_network: bool = False) -> Plan:
        """Return the plan with some tracks hidden more: drawn ones blurred, blurred ones black.

        Args:
            alike: number of the track to the distance at which what was shown in its place was
                taken for the real person.
            without_network: whether nothing is drawn, so that ``generate`` means a treatment.
        """
        tracks = list(self.tracks)
        for number, distance in alike.items():
            drawn = tracks[number].action == "generate" and not without_network
            what = "drawn" if drawn else "blurred"
            reason = f"the {what} face passed for the real person (distance {distance:.2f})"
            action: Action = "blur" if drawn else "solid"
            tracks[number] = replace(tracks[number], action=action, reason=reason)
        return replace(self, tracks=tracks)


def write_plan(plan: Plan, path: str | Path) -> Path:
    """Write a plan, one line per frame of a track; the file appears whole or not at all."""
    target = Path(path)
    tracks = []
    for track in plan.tracks:
        rows = [
            {
                "frame": track.start + i,
                "box": [round(v, _BOX_DECIMALS) for v in box],
                "from": origin,
            }
            for i, (box, origin) in enumerate(zip(track.boxes, track.origins, strict=True))
        ]
        head = {"person": track.person, "action": track.action, "reason": track.reason}
        tracks.append((head, rows))
    top = {
        "version": PLAN_VERSION,
        "video": plan.video,
        "sha256": plan.sha256,
        "n_frames": plan.n_frames,
        "size": list(plan.size),
        "cuts": plan.cuts,
        "lost": plan.lost,
        "undetected": plan.undetected,
        "ignored": {str(k): v for k, v in plan.ignored.items()},
        "settings": plan.settings,
    }
    lines = [f" {json.dumps(key)}: {json.dumps(value)}" for key, value in top.items()]
    blocks = []
    for head, rows in tracks:
        opening = json.dumps(head)[:-1] + ', "frames": ['
        body = ",\n".join("   " + json.dumps(row) for row in rows)
        blocks.append(f"  {opening}\n{body}\n  ]}}")
    text = "{\n" + ",\n".join(lines) + ',\n "tracks": [\n' + ",\n".join(blocks) + "\n ]\n}\n"
    write_text(target, text)
    return target


def read_plan(path: str | Path) -> Plan:
    """Read a plan that a person may have edited.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is no plan, of another version, or what was edited in does not hold; names
            the track and frame.
    """
    source = Path(path)
    if not source.is_file():
        raise FileNotFoundError(f"No plan at {str(path)!r}: `--dry-run` writes one.")
    try:
        data = json.loads(source.read_text(encoding="utf-8"))
        version = data["version"]
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{str(path)!r} is not a plan ({error}).") from error
    if version != PLAN_VERSION:
        raise ValueError(f"{str(path)!r} is a plan of version {version}, expected {PLAN_VERSION}.")
    try:
        plan = Plan(
            video=str(data["video"]),
            sha256=str(data["sha256"]),
            n_frames=int(data["n_frames"]),
            size=(int(data["size"][0]), int(data["size"][1])),
            tracks=[],
            cuts=[int(v) for v in data["cuts"]],
            lost=[int(v) for v in data["lost"]],
            undetected=[int(v) for v in data.get("undetected", [])],
            ignored={int(k): v for k, v in data["ignored"].items()},
            settings=dict(data["settings"]),
        )
        rows = data["tracks"]
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ValueError(f"{str(path)!r} is not a complete plan: {error!r}.") from error
    plan.tracks = [_read_track(row, number, plan) for number, row in enumerate(rows, start=1)]
    return plan


def _read_track(row: Any, number: int, plan: Plan) -> PlannedTrack:
    where = f"track {number} of the plan"
    try:
        person, action, reason = str(row["person"]), row["action"], str(row.get("reason", ""))
        frames = [int(r["frame"]) for r in row["frames"]]
        boxes = [tuple(float(v) for v in r["box"]) for r in row["frames"]]
        origins = [r.get("from", "edited") for r in row["frames"]]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"Cannot read {where}: {error!r}.") from error
    if action not in get_args(Action):
        raise ValueError(f"Expected `action` of {where} in {get_args(Action)}, got {action!r}.")
    if action == "keep" and not reason.strip():
        raise ValueError(f"{where.capitalize()} keeps a real face: add a `reason`.")
    if not frames:
        raise ValueError(f"{where.capitalize()} has no frames: remove it instead.")
    _check_frames(frames, where, plan)
    for frame, box, origin in zip(frames, boxes, origins, strict=True):
        finite = len(box) == 4 and all(math.isfinite(v) for v in box)
        if not finite or not (box[0] < box[2] and box[1] < box[3]):
            raise ValueError(
                f"Expected `box` [x0, y0, x1, y1] with x0 < x1 and y0 < y1 in frame {frame} of "
                f"{where}, got {list(box)}."
            )
        if origin not in get_args(Origin):
            raise ValueError(f"Expected `from` in {get_args(Origin)} in {where}, got {origin!r}.")
    return PlannedTrack(person, frames[0], boxes, origins, action, reason)  # type: ignore[arg-type]


def _check_frames(frames: Sequence[int], where: str, plan: Plan) -> None:
    for earlier, later in pairwise(frames):
        if later != earlier + 1:
            raise ValueError(
                f"Expected consecutive frames in {where}, got {later} after {earlier}: split the "
                "track in two with the same `person`."
            )
    if frames[0] < 0 or frames[-1] >= plan.n_frames:
        raise ValueError(
            f"Expected frames 0 to {plan.n_frames - 1} in {where}, got {frames[0]} to {frames[-1]}."
        )
