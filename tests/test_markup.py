"""The site's Markdown: equations stay where they stand, and angle brackets are angle brackets."""

from __future__ import annotations

import runpy
from html.parser import HTMLParser
from pathlib import Path

import pytest

markdown = pytest.importorskip("markdown", reason="comes with pip install -e '.[dev]'")
MARKUP = runpy.run_path(str(Path(__file__).parents[1] / "docs" / "markup.py"))


class Reader(HTMLParser):
    """What a browser shows as text, and the elements that it finds."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.shown, self.tags = "", [""]
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.shown += data


def read(text: str) -> Reader:
    return Reader(markdown.markdown(text, extensions=[MARKUP["Markup"](), "tables"]))


@pytest.mark.parametrize(
    "text",
    [
        "dW/dt = rate (<h x^T> - diag<h^2> W), <> the mean over rows",
        "rate <S_post (a_plus x)^T - (a_minus y) S_pre^T>",
        "<p> and <b> are means, and so is\n<R> at the start of a line",
        "<div>\nnothing\n</div>",
    ],
)
def test_angle_brackets_are_text(text: str) -> None:
    page = read(text)
    assert page.shown.strip() == text
    assert set(page.tags) == {"", "p"}


def test_an_equation_at_the_start_of_a_line_stays_in_its_sentence() -> None:
    page = read("As $x$ grows\n$y$ grows, too, and $z_1 < z_2$ with them.")
    assert page.tags.count("p") == 1
    assert page.tags.count("math") == 3
    assert " ".join(page.shown.split()) == "As x grows y grows, too, and z1<z2 with them."


def test_an_equation_of_its_own_is_set_as_a_block_and_code_keeps_its_dollars() -> None:
    html = markdown.markdown("$$\\frac{a}{b} = c_1 * d_2 * e$$\n\n`$HOME` and `$x$`", extensions=[MARKUP["Markup"]()])
    assert html.count('display="block"') == 1
    assert "<mfrac>" in html
    assert "<em>" not in html
    assert "<code>$HOME</code> and <code>$x$</code>" in html


def test_raw_tags_of_a_page_are_found_and_code_and_equations_are_not() -> None:
    assert MARKUP["raw_tags"]("a <br> b, <h x^T>, </div> and <!-- comment -->") == ["<br>", "<h x^T>", "</div>", "<!"]
    assert not MARKUP["raw_tags"]("`<h>`, $a <b> c$, a < b > c, `x` <= 3 ->\n```html\n<p>\n```")
