"""Rendering of formulas and pictures on the site, without a network.

Formulas become MathML when the site is built: browsers draw it themselves, so that a page needs no script, no font and
no other host, as MathJax and KaTeX do. A picture that is alone in its paragraph becomes a figure with its text for a
caption, so that pages stay plain Markdown.
"""

from __future__ import annotations

from typing import Any

from docutils import nodes
from math_core import LatexToMathML
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

_CONVERTER = LatexToMathML()


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the renderer of formulas and the captions."""
    app.add_html_math_renderer("mathml", (_inline, None), (_display, None))
    app.connect("doctree-read", lambda _, page: add_captions(page), priority=900)  # after images were collected
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def mathml(latex: str, display: bool = False) -> str:
    """A formula as MathML.

    Raises:
        LatexError: If a command is unknown.

    Example:
        >>> mathml("x^2")
        '<math><msup><mi>x</mi><mn>2</mn></msup></math>'
    """
    return _CONVERTER.convert_with_local_state(latex, displaystyle=display)


def _inline(translator: HTML5Translator, node: nodes.math) -> None:
    translator.body.append(mathml(node.astext()))
    raise nodes.SkipNode


def _display(translator: HTML5Translator, node: nodes.math_block) -> None:
    translator.body.append(f'<div class="formula">{mathml(node.astext(), display=True)}</div>\n')
    raise nodes.SkipNode


def add_captions(page: nodes.document) -> None:
    """Turn every described picture that is alone in its paragraph into a figure whose caption is the description."""
    for image in list(page.findall(nodes.image)):
        paragraph = image.parent
        if isinstance(paragraph, nodes.paragraph) and len(paragraph) == 1 and image.get("alt"):
            figure = nodes.figure("", image, nodes.caption("", image["alt"]))
            page.set_id(figure)
            paragraph.replace_self(figure)
