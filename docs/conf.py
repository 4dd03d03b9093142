"""The site, built by ``make docs``.

Its source is the whole repository, so that a relative link means the same on the site and where the code is hosted.
Tables and figures of results come from ``tables.py``, by name: ``{{ laplace }}``. Nothing on a page comes from another
host: formulas are MathML (``rendering.py``), fonts are the reader's.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import tables

import pyro_vaes

project, author, release = "pyro_vaes", "the authors of pyro_vaes", pyro_vaes.__version__
extensions = [
    "myst_nb",
    "rendering",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_design",
]
include_patterns = ["docs/**", "tutorials/**", "benchmarks/**", "CHANGELOG.md", "CONTRIBUTING.md"]
exclude_patterns = [".venv", "build", "report", "runs"]
root_doc = "docs/index"
templates_path = ["templates"]

html_theme = "furo"
html_title, html_show_copyright = "pyro_vaes", False
html_additional_pages = {"index": "redirect.html"}
html_static_path, html_css_files = ["static"], ["site.css"]
html_math_renderer = "mathml"
html_use_index, html_domain_indices = False, False  # the search and the summaries of the API find more

myst_enable_extensions = ["colon_fence", "dollarmath", "substitution"]
myst_substitutions = tables.generated()
myst_heading_anchors = 3
nb_execution_mode = "off"

napoleon_use_ivar = True
napoleon_custom_sections = [("Shapes", "notes_style")]
autodoc_default_options = {"members": True, "no-value": True, "show-inheritance": True}
autodoc_member_order = "bysource"

# Types of other libraries have their pages elsewhere, and bases that are not exported have none.
nitpick_ignore_regex = [
    ("py:.*", r"(torch|pyro|numpy|matplotlib|xarray|collections|os|pathlib|typing)\..*"),
    ("py:.*", r"pyro_vaes\.\w+\.\w+\.\w+|pyro_vaes\.mixtures\.\w+"),
    ("py:.*", r"pyro_vaes\.(vae\.LatentVariableModel|given\.Owner)|Origin"),
    ("py:.*", r"Tensor|Figure|VAE|Guide|\w+_co|list\[.*"),
]
