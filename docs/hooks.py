"""What the build of the site does beside rendering: draw figures, run notebooks, list rules, refuse raw tags."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from figures import draw_all
from markup import Markup, raw_tags
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from notebook_pages import as_markdown, executed, html_marker

from ctsigprop.batch.keys import as_markdown as keys_as_markdown
from ctsigprop.rules.table import RULES

HERE = Path(__file__).parent
NOTEBOOKS = HERE.parent / "notebooks"

HTML: dict[str, list[str]] = {}
"""Outputs that are HTML, by the page that shows them."""


def on_startup(command: str, dirty: bool, **_: Any) -> None:
    """Draw the figures, once for each call of mkdocs. griffe finds what its extension imports in this folder."""
    sys.path.insert(0, str(HERE))
    draw_all(HERE / "img")


def on_config(config: MkDocsConfig, **_: Any) -> MkDocsConfig:
    """Pages and docstrings are read by the site's own Markdown."""
    config.markdown_extensions.append(Markup())
    return config


def on_files(files: Files, config: MkDocsConfig, **_: Any) -> Files:
    """Each notebook becomes a page, its pictures beside it."""
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        markdown, pictures, tables = as_markdown(executed(path, HERE / "img" / "executed"), path.stem)
        page = File.generated(config, f"notebooks/{path.stem}.md", content=markdown)
        HTML[page.src_uri] = tables
        files.append(page)
        for name, content in pictures.items():
            files.append(File.generated(config, f"notebooks/{name}", content=content))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """A page with a raw tag ends the build; the rule page gets what it does not name yet, and
    the page on configuration files the table of their keys.
    """
    markdown = markdown.replace("<!-- keys -->", keys_as_markdown())
    if tags := raw_tags(markdown):
        raise PluginError(f"{page.file.src_uri}: put {', '.join(tags)} between backticks; as HTML it would be lost")
    if page.file.src_uri == "rules.md":
        missing = sorted(name for name in RULES if f"`{name}`" not in markdown)
        if missing:
            sections = [f"::: ctsigprop.rules.{RULES[name].__name__}" for name in missing]
            markdown += "\n\n## Further rules\n\n" + "\n\n".join(sections)
    return markdown


def on_page_content(html: str, page: Page, **_: Any) -> str:
    """Put a notebook's outputs where its page has their markers."""
    for number, table in enumerate(HTML.get(page.file.src_uri, [])):
        html = html.replace(f"<p>{html_marker(number)}</p>", f'<div class="output">{table}</div>')
    return html
