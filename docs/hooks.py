"""What the build of the site does beside rendering: draw figures, set equations, list rules that have no section."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert

from ctsigprop.batch.keys import as_markdown
from ctsigprop.rules.table import RULES

HERE = Path(__file__).parent


def on_startup(command: str, dirty: bool, **_: Any) -> None:
    """Draw the figures, once for each call of mkdocs."""
    sys.path.insert(0, str(HERE))
    try:
        from figures import draw_all
    finally:
        sys.path.pop(0)
    draw_all(HERE / "img")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """$$...$$ and $...$ become MathML, outside of code; the rule page gets what it does not name yet, and
    the page on configuration files the table of their keys.
    """
    if page.file.src_uri == "rules.md":
        missing = sorted(name for name in RULES if f"`{name}`" not in markdown)
        if missing:
            sections = [f"::: ctsigprop.rules.{RULES[name].__name__}" for name in missing]
            markdown += "\n\n## Further rules\n\n" + "\n\n".join(sections)
    markdown = markdown.replace("<!-- keys -->", as_markdown())
    parts = re.split(r"(```.*?```|`[^`\n]*`)", markdown, flags=re.DOTALL)
    return "".join(part if part.startswith("`") else with_mathml(part) for part in parts)


def with_mathml(text: str) -> str:
    """Replace equations in a text without code."""
    text = re.sub(r"\$\$(.+?)\$\$", lambda m: convert(m[1].strip(), display="block"), text, flags=re.DOTALL)
    return re.sub(r"\$([^$\n]+?)\$", lambda m: convert(m[1].strip()), text)
