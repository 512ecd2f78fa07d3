"""Puts diagrams into the page as SVG, so that they take its colours in light and in dark mode.

Elsewhere, such as on the repository's pages, the same files are ordinary pictures.
"""

from pathlib import Path

from docutils import nodes


def inline(app, doctree, _docname):
    """Replace each image of a diagram by the diagram itself."""
    if app.builder.format != "html":
        return
    for image in list(doctree.findall(nodes.image)):
        path = Path(app.srcdir, image["uri"])
        if path.suffix != ".svg":
            continue
        text = path.read_text(encoding="utf-8")
        if 'class="diagram"' in text:
            image.replace_self(nodes.raw("", text, format="html"))


def setup(app):
    """Register the extension with Sphinx."""
    app.connect("doctree-resolved", inline)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
