"""One page about how an anonymized video compares with its original."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dp3_lightning.reports.pages import page, thumbnails
from dp3_lightning.whole_files import write_text


def write_evaluation_report(
    output: Path, record: Mapping[str, Any], original: Path | None = None
) -> Path:
    """Write ``OUT.eval.html``: figures, their meaning, frames.

    Args:
        output: the anonymized video.
        record: what was measured.
        original: shown beside the output; None, the default, shows no real face.

    Returns:
        Path of the page.
    """
    strips = [("Output", output)] + ([("Original", original)] if original is not None else [])
    pictures = "".join(
        f"<h3>{title}</h3>{thumbnails(path)}" for title, path in strips if path is not None
    )
    skipped = "".join(
        f"<li>{html.escape(name)}: {html.escape(reason)}</li>"
        for name, reason in record["skipped"].items()
    )
    name = html.escape(record["output"]["name"])
    body = f"""<h1>{name}, compared with its original</h1>
<p>{html.escape(record["tool"])}</p>
{_table(record)}
{"<h2>Left out</h2><ul>" + skipped + "</ul>" if skipped else ""}
<h2>Frames</h2>{pictures}
<h2>Measured with</h2><pre>{html.escape(json.dumps(record["measured_with"], indent=1))}</pre>"""
    path = output.with_name(f"{output.name}.eval.html")
    write_text(path, page(f"{name}, evaluated", body))
    return path


def _table(record: Mapping[str, Any]) -> str:
    heads = "".join(f"<th>{html.escape(face['person'])}</th>" for face in record["faces"])
    rows = []
    for name, meaning in record["meaning"].items():
        values = [face["values"][name] for face in record["faces"]]
        cells = "".join(f"<td>{'' if v is None else format(v, '.3g')}</td>" for v in values)
        rows.append(f"<tr><td>{html.escape(name)}</td>{cells}<td>{html.escape(meaning)}</td></tr>")
    return f"<table><tr><th>figure</th>{heads}<th>meaning</th></tr>{''.join(rows)}</table>"
