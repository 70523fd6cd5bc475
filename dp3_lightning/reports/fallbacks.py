"""Which frames of an anonymized video fell back to blur, and why, as its manifest tells."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_MOST_RANGES = 12  # that are written out


@dataclass(frozen=True)
class Fallback:
    """Frames in which somebody was blurred instead of drawn, for one reason.

    Attributes:
        person: label; empty for everybody in the frame.
        reason: why.
        ranges: first and last frame, each.
    """

    person: str
    reason: str
    ranges: tuple[tuple[int, int], ...]

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return sum(last - first + 1 for first, last in self.ranges)

    def frames_text(self) -> str:
        """Name the frames, "3 to 9, 12", as far as they are few."""
        parts = [
            str(first) if first == last else f"{first} to {last}"
            for first, last in self.ranges[:_MOST_RANGES]
        ]
        rest = len(self.ranges) - _MOST_RANGES
        return ", ".join(parts) + (f" and {rest} more stretches" if rest > 0 else "")


def ranges_of(frames: Iterable[int]) -> tuple[tuple[int, int], ...]:
    """Join frames to stretches, ``(first, last)`` each, in order."""
    ranges: list[tuple[int, int]] = []
    for frame in sorted(set(frames)):
        if ranges and ranges[-1][1] == frame - 1:
            ranges[-1] = (ranges[-1][0], frame)
        else:
            ranges.append((frame, frame))
    return tuple(ranges)


def fallbacks(record: Mapping[str, Any]) -> list[Fallback]:
    """Collect what a manifest tells: what failed, and tracks that were blurred as a whole.

    Args:
        record: manifest of a run.

    Returns:
        By person and first frame. Tracks are left out where the user asked for no faces to be
        drawn: nothing else than blur was wanted.
    """
    frames: dict[tuple[str, str], list[int]] = {}
    is_drawn = bool(record["generator"]["weights_sha256"])
    for track in record["tracks"]:
        if is_drawn and track["action"] == "blur":
            reason = track["reason"] or "the plan says so"
            found = frames.setdefault((track["person"], reason), [])
            for first, last, _ in track["ranges"]:
                found += range(first, last + 1)
    for failure in record["failures"]:
        if failure["blurred"]:
            frames.setdefault((failure["person"], failure["reason"]), []).append(failure["frame"])
    undetected = record["frames"]["detector_failed_blurred"]
    if undetected:
        frames[("", "the face detector failed")] = list(undetected)
    found_later = [entry["frame"] for entry in record["verify"]["found_and_blurred"]]
    if found_later:
        frames[("", "a face that nobody had planned was found after rendering")] = found_later
    rows = [Fallback(who, why, ranges_of(which)) for (who, why), which in frames.items()]
    return sorted(rows, key=lambda row: (row.person, row.ranges[0]))


def fallback_table(rows: Sequence[Fallback]) -> str:
    """Format frames and reasons as HTML."""
    if not rows:
        return "<p>None.</p>"
    lines = []
    for row in rows:
        cells = (row.person or "anybody", row.n_frames, row.frames_text(), row.reason)
        lines.append("<tr>" + "".join(f"<td>{html.escape(str(c))}</td>" for c in cells) + "</tr>")
    head = "<tr><th>person</th><th>frames</th><th>which</th><th>why</th></tr>"
    return f"<table>{head}{''.join(lines)}</table>"
