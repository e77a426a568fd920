"""The notebooks as pages of the site, run by its build."""

from __future__ import annotations

import os
import re
from base64 import b64decode
from hashlib import sha256
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
SOURCES = ("ctsigprop", "rules", "solvers")


def executed(path: Path, cache: Path) -> dict[str, Any]:
    """The notebook at `path` with its outputs: run, or kept from a run of the same notebook and the same sources."""
    import nbformat
    from nbclient import NotebookClient

    sources = sorted(file for folder in SOURCES for file in (ROOT / folder).rglob("*.py"))
    digest = sha256(b"".join(file.read_bytes() for file in [path, *sources])).hexdigest()[:16]
    kept = cache / f"{path.stem}-{digest}.ipynb"
    if not kept.is_file():
        notebook = nbformat.read(path, as_version=4)
        folder = {"metadata": {"path": str(path.parent)}}
        client = NotebookClient(notebook, timeout=600, resources=folder, extra_arguments=["--log-level=ERROR"])
        client.execute(env={**os.environ, "MPLBACKEND": "module://matplotlib_inline.backend_inline"})
        cache.mkdir(parents=True, exist_ok=True)
        for old in cache.glob(f"{path.stem}-*.ipynb"):
            old.unlink()
        nbformat.write(notebook, kept)
    return nbformat.read(kept, as_version=4)


def as_markdown(notebook: dict[str, Any], stem: str) -> tuple[str, dict[str, bytes], list[str]]:
    """A notebook as a page: its Markdown, its pictures by file name, and the HTML for each `html_marker` in it."""
    blocks: list[str] = []
    pictures: dict[str, bytes] = {}
    tables: list[str] = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            blocks.append(source)
            continue
        blocks += [f"```python\n{source}\n```"] if source else []
        for output in merged(cell.get("outputs", [])):
            data = output.get("data", {})
            if output["output_type"] == "error":
                raise RuntimeError(f"{stem}: {output['ename']}: {output['evalue']}")
            if "image/png" in data:
                name = f"{stem}_{len(pictures)}.png"
                pictures[name] = b64decode(data["image/png"])
                blocks.append(f"![Figure of the cell above]({name})")
            elif "application/vnd.jupyter.widget-view+json" in data:
                continue
            elif (html := page_html(data)) is not None:
                blocks.append(html_marker(len(tables)))
                tables.append(html)
            else:
                text = last_states("".join(output.get("text", data.get("text/plain", ""))))
                blocks += [f"```text\n{text}\n```"] if text else []
    return "\n\n".join(blocks) + "\n", pictures, tables


def merged(outputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Outputs with what was printed in one piece each: where a kernel cuts it is chance."""
    joined: list[dict[str, Any]] = []
    for output in outputs:
        if output["output_type"] == "stream" and joined and joined[-1]["output_type"] == "stream":
            joined[-1] = {**output, "text": "".join(joined[-1]["text"]) + "".join(output["text"])}
        else:
            joined.append(output)
    return joined


def page_html(data: dict[str, Any]) -> str | None:
    """An output as HTML, or None where it has none or brings a style sheet, which would fight with that of the site."""
    html = re.sub(r"<style scoped>.*?</style>", "", "".join(data.get("text/html", "")), flags=re.DOTALL)
    return html if html and "<style" not in html else None


def html_marker(number: int) -> str:
    """What stands in a page's Markdown for an output that is HTML."""
    return f"notebook-html-{number}"


def last_states(text: str) -> str:
    """Printed text as a terminal shows it in the end: a progress bar only in its last state, no colours."""
    lines = re.sub(r"\x1b\[[0-9;]*m", "", text).split("\n")
    return "\n".join(line.rstrip("\r").rpartition("\r")[2].rstrip() for line in lines).strip("\n")
