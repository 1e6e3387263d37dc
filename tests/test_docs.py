"""The reference has every public name, once."""

import importlib
import re
from pathlib import Path

import pytest

REFERENCE = Path(__file__).parent.parent / "docs" / "reference"
PAGES = sorted(path for path in REFERENCE.glob("*.md") if path.stem != "index")
# Types in the signatures of others, constants, and what only the rooms of the package share.
ELSEWHERE = {"RULES", "PALETTE", "Arrays", "LossLike", "overrides_compute_loss", "sum_of_added"}


def names_on(page):
    return re.findall(r"^\.\. auto(?:class|function):: (\w+)$", page.read_text("utf-8"), re.M)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_a_page_has_the_public_names_of_its_module(page):
    text = page.read_text(encoding="utf-8")
    (name,) = re.findall(r"^\.\. module:: (\S+)$", text, re.M)
    public = set(getattr(importlib.import_module(name), "__all__", ())) - ELSEWHERE
    if not public:
        assert f".. automodule:: {name}" in text
        return
    assert sorted(names_on(page)) == sorted(public)


def test_names_of_the_package_are_somewhere():
    import tf_gradvar

    listed = {name for page in PAGES for name in names_on(page)}
    modules = {page.stem for page in PAGES}
    assert set(tf_gradvar.__all__) <= listed | modules


def test_the_index_lists_all_pages():
    text = (REFERENCE / "index.md").read_text(encoding="utf-8")
    listed = re.search(r"```\{toctree\}\n:maxdepth: 1\n\n(.*?)```", text, re.S)[1].split()
    assert sorted(listed) == [page.stem for page in PAGES]
