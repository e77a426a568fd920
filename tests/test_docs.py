"""The site's pages: their examples run as printed, and what they name is there. The build itself is `make docs`."""

from __future__ import annotations

import importlib
import re
import runpy
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest
import torch

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md"))
TEXT = {page: (DOCS / page).read_text() for page in PAGES}
EXAMPLES = [page for page in PAGES if "```python" in TEXT[page]]


@pytest.mark.parametrize("page", EXAMPLES)
def test_examples_run_in_order(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.set_num_threads(1)
    names: dict[str, Any] = {"__name__": "example"}
    monkeypatch.setitem(sys.modules, "example", type(sys)("example"))  # where dataclasses look up annotations
    with mpl.rc_context({"backend": "agg"}), torch.random.fork_rng():
        for block in re.findall(r"```python\n(.*?)```", TEXT[page], flags=re.DOTALL):
            exec(compile(block, page, "exec"), names)
    plt.close("all")
    assert "ct" in names


def test_every_page_is_in_the_navigation_and_no_other() -> None:
    listed = re.findall(r": ([\w/]+\.md)$", (ROOT / "mkdocs.yml").read_text(), flags=re.MULTILINE)
    notebooks = [f"notebooks/{path.stem}.md" for path in (ROOT / "notebooks").glob("*.ipynb")]
    assert len(notebooks) >= 8
    assert sorted(listed) == sorted([*PAGES, *notebooks])


def test_a_notebook_becomes_a_page_with_its_outputs() -> None:
    cells = [
        {"cell_type": "markdown", "source": ["# Title\n", "text"]},
        {
            "cell_type": "code",
            "source": "run()",
            "outputs": [
                {"output_type": "stream", "text": "  0%\r 50%\r"},
                {"output_type": "stream", "text": ["100%\n", "done \x1b[31mred\x1b[0m\n"]},
                {"output_type": "display_data", "data": {"image/png": "UE5H\n", "text/plain": "<Figure>"}},
                {"output_type": "execute_result", "data": {"text/html": "<table></table>", "text/plain": "a table"}},
                {"output_type": "execute_result", "data": {"text/html": "<style>p {}</style>", "text/plain": "styled"}},
                {"output_type": "display_data", "data": {"application/vnd.jupyter.widget-view+json": {}}},
            ],
        },
        {"cell_type": "code", "source": "", "outputs": []},
    ]
    as_markdown = runpy.run_path(str(DOCS / "notebook_pages.py"))["as_markdown"]
    text, pictures, tables = as_markdown({"cells": cells}, "03_x")
    assert text.split("\n\n") == [
        "# Title\ntext",
        "```python\nrun()\n```",
        "```text\n100%\ndone red\n```",
        "![Figure of the cell above](03_x_0.png)",
        "notebook-html-0",
        "```text\nstyled\n```\n",
    ]
    assert pictures == {"03_x_0.png": b"PNG"}
    assert tables == ["<table></table>"]
    wrong = {
        "cell_type": "code",
        "source": "1 / 0",
        "outputs": [{"output_type": "error", "ename": "E", "evalue": "by 0"}],
    }
    with pytest.raises(RuntimeError, match="03_x: E: by 0"):
        as_markdown({"cells": [wrong]}, "03_x")


def test_every_figure_is_drawn_by_the_build_and_shown() -> None:
    source = (DOCS / "figures.py").read_text()
    drawn = set(re.findall(r'^ {12}"(\w+)": ', source, flags=re.MULTILINE)) | {"film"}
    shown = {name for text in TEXT.values() for name in re.findall(r"\]\((?:\.\./)?img/(\w+)\.\w+\)", text)}
    assert drawn == shown


def test_every_name_of_the_reference_can_be_imported() -> None:
    names = [name for text in TEXT.values() for name in re.findall(r"^::: ([\w.]+)$", text, flags=re.MULTILINE)]
    assert len(names) > 20
    for name in names:
        module, _, member = name.rpartition(".")
        try:
            importlib.import_module(name)
        except ModuleNotFoundError:
            assert hasattr(importlib.import_module(module), member), name


def test_links_between_pages_lead_somewhere() -> None:
    for page, text in TEXT.items():
        for link in re.findall(r"\]\(([\w./]+\.md)\)", text):
            target = (DOCS / page).parent.joinpath(link).resolve()
            notebook = ROOT / "notebooks" / f"{target.stem}.ipynb"
            assert target.is_file() or (target.parent == DOCS / "notebooks" and notebook.is_file()), f"{page}: {link}"
