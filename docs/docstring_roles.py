"""Show the Sphinx roles of our docstrings as code: mkdocstrings reads Markdown only."""

from __future__ import annotations

import re
from typing import Any

_ROLE = re.compile(r":(?:class|func|meth|mod|attr|data|exc):<code>~?(?:[\w.]*\.)?(\w+)</code>")


def on_page_content(html: str, **_: Any) -> str:
    """Replace every role by the last part of its target, and the double colon before code."""
    return _ROLE.sub(r"<code>\1</code>", html).replace("::</p>", ":</p>")
