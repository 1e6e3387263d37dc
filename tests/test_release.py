"""The files of a release name one version."""

import re
from pathlib import Path

import tf_gradvar

ROOT = Path(__file__).parent.parent
PLACES = {
    "setup.py": r'version="([\d.]+)"',
    "CITATION.cff": r"^version: ([\d.]+)$",
    "CHANGELOG.md": r"^## ([\d.]+|Unreleased)$",
}


def test_every_file_names_the_version_of_the_package():
    found = {
        name: re.search(pattern, (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE)[1]
        for name, pattern in PLACES.items()
    }
    assert found == dict.fromkeys(PLACES, tf_gradvar.__version__)


def test_what_is_deprecated_stands_in_the_changelog():
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    section = changes.partition("### Deprecated")[2].partition("###")[0]
    source = (ROOT / "tf_gradvar" / "callbacks").glob("*.py")
    text = "".join(path.read_text(encoding="utf-8") for path in source)
    deprecated = set(re.findall(r"(\w+): Deprecated: ", text))
    assert deprecated == {"every_steps", "at_steps", "schedule"}
    assert all(f"`{name}`" in section for name in deprecated)
