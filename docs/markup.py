"""Markdown of the site: equations between dollar signs become MathML, and nothing is raw HTML.

An angle bracket is an angle bracket. As HTML, `<h x^T>` in a docstring would be an unknown tag, which a browser hides.
"""

from __future__ import annotations

import re
from xml.etree.ElementTree import Element

from latex2mathml.converter import convert
from markdown import Markdown
from markdown.extensions import Extension
from markdown.inlinepatterns import InlineProcessor

EQUATION = r"\$\$(?P<block>.+?)\$\$|\$(?P<inline>[^$\n]+?)\$"
BEFORE_ESCAPES, AFTER_CODE = 180, 190
"""Priorities of Markdown's own patterns: code keeps its dollars, and LaTeX keeps its backslashes."""

TAG = re.compile(r"</?[A-Za-z][^>]*>|<!")
CODE = re.compile(r"```.*?```|`[^`\n]*`|\$\$.+?\$\$|\$[^$\n]+?\$", flags=re.DOTALL)


class Equation(InlineProcessor):
    """One equation, kept out of the way of every other pattern."""

    def handleMatch(self, m: re.Match[str], data: str) -> tuple[str | Element, int, int]:  # noqa: N802
        block = m["block"]
        mathml = convert(m["inline"]) if block is None else convert(block.strip(), display="block")
        return self.md.htmlStash.store(mathml), m.start(0), m.end(0)


class Markup(Extension):
    """What this module's first line says, for pages and docstrings alike."""

    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802
        equation = Equation(EQUATION, md)
        equation.compiled_re = re.compile(EQUATION, re.DOTALL)
        md.inlinePatterns.register(equation, "equation", (BEFORE_ESCAPES + AFTER_CODE) / 2)
        md.preprocessors.deregister("html_block")
        md.inlinePatterns.deregister("html")


def raw_tags(markdown: str) -> list[str]:
    """What stands in angle brackets in a page, outside of code and equations, and would be lost as HTML."""
    return TAG.findall(CODE.sub("", markdown))
