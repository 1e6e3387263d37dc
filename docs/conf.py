"""Settings of Sphinx: `make docs` builds the pages in docs/_build."""

import os
import re
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import tf_gradvar  # noqa: E402

project = "tf_gradvar"
author = "The tf_gradvar authors"
copyright = author
release = tf_gradvar.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx.ext.mathjax",
    "sphinx-mathjax-offline",
    "sphinx_copybutton",
]
exclude_patterns = ["_build", "results"]
html_theme = "furo"
html_title = f"tf_gradvar {release}"

# Docstrings are in the Google style; what stands between backticks is code.
default_role = "code"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
autodoc_typehints = "none"
autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False
# Other projects' pages, and an error that is raised but need not be imported.
nitpick_ignore_regex = [
    ("py:.*", r"(numpy|tensorflow|keras|collections)\..*"),
    ("py:exc", "LostWorkerError"),
]

myst_enable_extensions = ["deflist", "dollarmath"]
myst_heading_anchors = 3
# `make docs` has executed the notebooks before.
nb_execution_mode = "off"
nb_output_stderr = "remove"


def _as_written(app: Any, kind: str, name: str, it: Any, options: Any, lines: list[str]) -> None:
    """Keep the asterisk of a shape [K, *shape] from opening italics, and formulas in lines."""
    written: list[str] = []
    paragraph = ""  # the first line of the last one
    for before, line in zip(["", *lines], lines, strict=False):
        begins = bool(line.strip()) and not before.strip()
        if begins and line.startswith("    ") and paragraph[:1].isalnum():
            written += ["::", ""]
        if begins:
            paragraph = line
        written.append(re.sub(r"(?<!`)\*(?=shape|grid)", r"\\*", line))
    lines[:] = written


def _no_lists(app: Any, kind: str, name: str, it: Any, options: Any, lines: list[str]) -> None:
    """Keep a description that begins with a symbol, "count: N.", from becoming a list."""
    lines[:] = [re.sub(r"^( +\w+: \w)\.", r"\1\\.", line) for line in lines]


def _skips(app: Any, kind: str, name: str, it: Any, skip: bool, options: Any) -> bool | None:
    """Leave out the fields of named tuples, which their docstring describes."""
    return (getattr(it, "__doc__", None) or "").startswith("Alias for field number") or None


def setup(app: Any) -> None:
    """Connect what is done to members and, before and after napoleon, to docstrings."""
    app.connect("autodoc-skip-member", _skips)
    app.connect("autodoc-process-docstring", _no_lists, priority=100)
    app.connect("autodoc-process-docstring", _as_written)
