"""From faces that were found after rendering to tracks that hide them between frames, too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from dp3_lightning.anonymize.coverage import covered_share
from dp3_lightning.anonymize.planning.plan import Plan, PlannedTrack
from dp3_lightning.anonymize.planning.planner import PlanOptions, lasts, planned_track
from dp3_lightning.faces.tracker import link_detections
from dp3_lightning.structures import Detection

FOUND = "found by the check after rendering"
_MISSED = 0.5  # share of a found face below which no planned one explains it


def found_tracks(
    plan: Plan, found: Sequence[tuple[int, Sequence[float]]], rate: float, options: PlanOptions
) -> list[PlannedTrack]:
    """Return tracks of faces that were found after rendering and that no plan covered.

    What was found in a few frames is there in the frames between, too.

    Args:
        plan: by which the frames were rendered.
        found: number of the frame and box.
        rate: frames per second.
        options: how detections become tracks.
    """
    detections: list[list[Detection]] = [[] for _ in range(plan.n_frames)]
    for frame, box in found:
        planned = [b for _, b in plan.boxes_at(frame)]
        if covered_share(box, planned) < _MISSED:
            x0, y0, x1, y1 = (float(v) for v in box)
            detections[frame].append(Detection((x0, y0, x1, y1), 1.0))
    gap = round(options.max_gap * rate)
    breaks = sorted({*plan.cuts, *plan.lost, *(i + 1 for i in plan.lost)})
    tracks: list[PlannedTrack] = []
    for track in link_detections(detections, breaks, max_gap=gap):
        if lasts(track, plan.n_frames, replace(options, weak_frames=max(options.weak_frames, 1))):
            new = planned_track(track, breaks, gap, rate, plan.n_frames, options)
            new.person, new.action = f"found-{len(tracks) + 1}", "blur"
            new.reason = FOUND
            tracks.append(new)
    return tracks
