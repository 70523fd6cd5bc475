"""One page about one anonymized video or picture: what was found, drawn, blurred, unresolved.

Everything on it comes from the output, its manifest, and drawn faces. It never opens the original.
"""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dp3_lightning.reports.fallbacks import Fallback, fallback_table, fallbacks
from dp3_lightning.reports.pages import figures, page, thumbnails
from dp3_lightning.runtime.files import write_text
from dp3_lightning.structures import UInt8Array

_WIDTH = 960  # of the timeline
_COLORS = {
    "detected": "#2f7d5b",
    "filled": "#d9a441",
    "padded": "#8fa3b8",
    "edited": "#6a5acd",
}
_BLURRED = "#33414f"


def report_path(output: Path) -> Path:
    """Return the path of ``OUT.dp3.html`` beside the output."""
    return output.with_name(f"{output.name}.dp3.html")


def write_report(output: str | Path, people: Mapping[str, UInt8Array] | None = None) -> Path:
    """Write the page of an output from its manifest, ``OUT.dp3.json``.

    Args:
        output: an anonymized video or picture.
        people: person to the face that was drawn for them, ``(H, W, 3)`` uint8 RGB, as
            ``Outcome.people`` has them; None leaves their sheet out.

    Returns:
        Path of the page, ``OUT.dp3.html``.

    Raises:
        FileNotFoundError: there is no manifest beside it.
    """
    target = Path(output)
    manifest = target.with_name(f"{target.name}.dp3.json")
    if not manifest.is_file():
        raise FileNotFoundError(f"No manifest at {str(manifest)!r}: anonymize the video again.")
    record = json.loads(manifest.read_text(encoding="utf-8"))
    path = report_path(target)
    title = f"{html.escape(record['output']['name'])}, anonymized"
    write_text(path, page(title, _body(record, target, people or {})))
    return path


def _body(record: Mapping[str, Any], output: Path, people: Mapping[str, UInt8Array]) -> str:
    blurred = fallbacks(record)
    settings = {key: value for key, value in record.items() if key not in _SHOWN}
    return f"""<h1>{html.escape(record["output"]["name"])}</h1>
<p>{html.escape(record["tool"])}, generator
<code>{html.escape(str(record["generator"]["name"]))}</code></p>
{_verdict(record)}
<h2>Output</h2>{thumbnails(output)}
{_people(record, people)}<h2>Tracks</h2>{_timeline(record, blurred)}{_key()}{_track_table(record)}
<h2>Frames that fell back to blur</h2>{fallback_table(blurred)}
<h2>What did not go as planned</h2>{_incidents(record)}
<h2>Settings and hashes</h2><details><summary>Show</summary>
<pre>{html.escape(json.dumps(settings, indent=1))}</pre></details>"""


_SHOWN = {"tracks", "failures", "verify"}


def _verdict(record: Mapping[str, Any]) -> str:
    checked = record["verify"]["frames_checked"]
    total = record["frames"]["n_frames"]
    smallest = record.get("detectors", {}).get("plan", {}).get("smallest_face")
    limit = f" Of faces under {smallest:g} pixels, some are not found." if smallest else ""
    # Before version 2 it was true or false.
    if record["safe"] in (False, "faces left") or record["verify"]["frames_unchecked"]:
        return '<p class="verdict unsafe">Faces may be left in this file: see below.</p>'
    if not checked or record["safe"] == "not checked":
        return '<p class="verdict unsafe">Not checked for remaining faces.</p>'
    return (
        f'<p class="verdict safe">{checked} of {total} frames checked after rendering: no face is '
        f"left that was not drawn, blurred or let through.{limit} No detector finds every face: "
        "look through the video before you give it away.</p>"
    )


def _people(record: Mapping[str, Any], people: Mapping[str, UInt8Array]) -> str:
    """Show who was drawn, at rest; no real person is on it."""
    if not people:
        return ""
    refused = record["faces"].get("people_refused_as_too_alike", {})
    captions = {
        name: f"{name}; refused before as too alike: {refused[name]}" if refused.get(name) else name
        for name in people
    }
    return "<h2>People who were drawn</h2><p>None of them exists.</p>" + figures(
        [(captions[name], picture) for name, picture in people.items()]
    )


def _timeline(record: Mapping[str, Any], blurred: list[Fallback]) -> str:
    total = max(1, record["frames"]["n_frames"])
    scale = _WIDTH / total
    rows = []
    for number, track in enumerate(record["tracks"]):
        y = 8 + 26 * number
        for first, last, origin in track["ranges"]:
            x, width = first * scale, max(1.0, (last - first + 1) * scale)
            color = _COLORS.get(origin, "#999")
            label = html.escape(f"{track['person']}: {origin}, frames {first} to {last}")
            rows.append(
                f'<rect x="{x:.2f}" y="{y}" width="{width:.2f}" height="16" fill="{color}">'
                f"<title>{label}</title></rect>"
            )
        rows += _marks(track, blurred, scale, y + 12)
        text = html.escape(f"{track['person']} ({track['action']})")
        rows.append(f'<text x="4" y="{y + 12}" font-size="11" fill="#fff">{text}</text>')
    height = 16 + 26 * max(1, len(record["tracks"])) + 14
    bottom = height - 12
    for key, color in (("unresolved", "#c62f25"), ("found_and_blurred", "#c77700")):
        for entry in record["verify"][key]:
            x = entry["frame"] * scale
            rows.append(
                f'<rect x="{x:.2f}" y="{bottom}" width="2" height="10" fill="{color}">'
                f"<title>frame {entry['frame']}: {key}</title></rect>"
            )
    for cut in record["frames"]["cuts"]:
        rows.append(
            f'<line x1="{cut * scale:.2f}" x2="{cut * scale:.2f}" y1="0" y2="{height}" '
            'stroke="#1d2733" stroke-dasharray="2 3"/>'
        )
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="timeline">'
        f"{''.join(rows)}</svg>"
    )


def _marks(track: Mapping[str, Any], blurred: list[Fallback], scale: float, y: float) -> list[str]:
    """Underline the frames of a track in which it is blurred."""
    start, stop = track["ranges"][0][0], track["ranges"][-1][1]
    rows = []
    for found in blurred:
        if found.person != track["person"]:
            continue
        for first, last in found.ranges:
            low, high = max(first, start), min(last, stop)
            if low > high:
                continue
            label = html.escape(f"{found.person}: blurred, frames {low} to {high}: {found.reason}")
            rows.append(
                f'<rect x="{low * scale:.2f}" y="{y}" '
                f'width="{max(1.0, (high - low + 1) * scale):.2f}" height="4" fill="{_BLURRED}">'
                f"<title>{label}</title></rect>"
            )
    return rows


def _key() -> str:
    named = {
        **_COLORS,
        "fell back to blur": _BLURRED,
        "found later and blurred": "#c77700",
        "unresolved": "#c62f25",
    }
    spans = "".join(f'<span><i style="background:{c}"></i>{n}</span>' for n, c in named.items())
    return f'<p class="key">{spans}<span>dotted line: cut</span></p>'


def _track_table(record: Mapping[str, Any]) -> str:
    if not record["tracks"]:
        return "<p>No faces were found.</p>"
    rows = []
    for track in record["tracks"]:
        found = track["distance_to_original"]
        distance = "not measured" if found is None else f"{found['min']:.2f} to {found['max']:.2f}"
        frames = ", ".join(f"{n} {origin}" for origin, n in track["frames"].items())
        cells = (track["person"], track["action"], frames, distance, track["reason"])
        rows.append("<tr>" + "".join(f"<td>{html.escape(str(c))}</td>" for c in cells) + "</tr>")
    threshold = record["identity"].get("threshold")
    unit = f" (below {threshold:.3g}: the same person)" if threshold else ""
    return (
        "<table><tr><th>person</th><th>action</th><th>frames</th>"
        f"<th>distance to the original{unit}</th><th>reason</th></tr>{''.join(rows)}</table>"
    )


def _incidents(record: Mapping[str, Any]) -> str:
    verify, frames = record["verify"], record["frames"]
    later = [f for f in record["failures"] if not f["blurred"]]
    lines = [
        f"Unresolved: a face at {e['box']} in frame {e['frame']}" for e in verify["unresolved"]
    ]
    lines += [f"Could not be checked: frame {f}" for f in verify["frames_unchecked"]]
    lines += [f"From frame {f['frame']} on: {f['reason']}" for f in later]
    lines += [
        f"Cannot be decoded: frame {f}, the one before is repeated"
        for f in frames["undecodable_repeated"]
    ]
    if frames["missing_at_the_end"]:
        lines.append(f"The source is cut off: {frames['missing_at_the_end']} frames are missing")
    if "skipped" in record["identity"]:
        lines.append(f"Identity check skipped: {record['identity']['skipped']}")
    for frame, faces in record["faces"].get("weak_ignored", {}).items():
        lines.append(f"Weak detections left as they are: frame {frame}, {len(faces)}")
    lines += [
        f"{t['person']}: not comparable with the real person in {t['looks_not_comparable']} looks"
        for t in record["tracks"]
        if t.get("looks_not_comparable")
    ]
    if not lines:
        return "<p>Nothing.</p>"
    return "<ul>" + "".join(f"<li>{html.escape(line)}</li>" for line in lines) + "</ul>"
