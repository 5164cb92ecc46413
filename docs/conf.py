"""How Sphinx builds the site that paperlib.runs.site assembles; nothing is fetched from outside."""

import re
from importlib.metadata import distribution

project = "Papers as notebooks"
author = copyright = "the paperlib authors"
language = "en"
root_doc = "index"

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
nb_execution_mode = "off"  # what is committed is shown
myst_enable_extensions = ["dollarmath", "html_image"]
myst_heading_anchors = 3
myst_links_external_new_tab = False
suppress_warnings = ["mystnb.unknown_mime_type", "myst.header"]
default_role = "py:obj"
autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints = "signature"  # types hold what would be markup, such as "*image"
add_module_names = False
napoleon_use_ivar = True  # attributes are documented once
napoleon_attr_annotations = False  # the same: types stand in signatures

html_theme = "pydata_sphinx_theme"
html_title = project
html_context = {"default_mode": "auto"}
mathjax_path = "tex-svg.js"  # one file, fonts included
mathjax_file = distribution("django-static-mathjax").locate_file("mathjax/static/mathjax/es5")
html_static_path = ["_static", str(mathjax_file / mathjax_path)]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_search_summary = False  # a summary fetches its page, which file:// refuses
html_theme_options = {
    "navbar_end": ["theme-switcher"],
    "secondary_sidebar_items": ["page-toc"],
    "footer_end": [],
    "show_nav_level": 1,
    "navigation_with_keys": True,
}


EQUATION = re.compile(r"^( *)\$\$(.+?)\$\$", re.DOTALL | re.MULTILINE)
INLINE = re.compile(  # blocks, code, bold and emphasis stay; equations; other markup
    r"^ *\.\. math::\n\n[^\n]*|``.+?``|`[^`]+`|\*\*[^*]+\*\*|(?<!\w)\*[^*\s][^*]*\*(?!\w)"
    r"|\$([^$]+)\$|\||\*+(?=\w)|(?<=\w)_(?!\w)",
    re.DOTALL | re.MULTILINE,
)
TABLE = re.compile(r"((?:^ *\|.*\n?)+)", re.MULTILINE)


def _docstring(app, what, name, obj, options, lines):
    """Docstrings are Markdown with $equations$; reStructuredText wants them otherwise."""

    def block(found):
        equation = " ".join(found[2].split())
        return f"\n{found[1]}.. math::\n\n{found[1]}    {equation}\n\n{found[1]}"

    def inline(found):
        if found[1]:
            return f"\\ :math:`{' '.join(found[1].split())}`\\ "
        whole = "`" in found[0] or found[0].strip("*|_")
        return found[0] if whole else "\\" + found[0]

    parts = TABLE.split(EQUATION.sub(block, "\n".join(lines)))
    for place, part in enumerate(parts):
        if place % 2:
            quoted = re.sub("^", "    ", part.rstrip(), flags=re.MULTILINE)
            parts[place] = f"\n::\n\n{quoted}\n\n"
        else:
            parts[place] = INLINE.sub(inline, part)
    lines[:] = "".join(parts).split("\n")


def setup(app):
    """Connect to Sphinx, before napoleon reads the sections."""
    app.connect("autodoc-process-docstring", _docstring, priority=400)
