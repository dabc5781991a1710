"""What the documents show, so that a test can run it."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def blocks(document: str, language: str = "") -> list[str]:
    """The fenced blocks of a document that are in `language`, in order."""
    text = (ROOT / document).read_text(encoding="utf-8")
    return [
        body for kind, body in re.findall(r"^```(\w*)\n(.*?)^```$", text, re.M | re.S) if kind == language
    ]
