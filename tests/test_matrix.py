"""The table of what passed on which releases."""

from pathlib import Path

from tests.matrix import CELLS, Found, counts_in, page


def test_the_page_has_a_row_for_each_cell():
    versions = {
        "python": "3.10.13", "tensorflow-cpu": "2.18.1", "keras": "3.8.0", "jax": "0.4.34",
        "numpy": "2.0.2",
    }  # fmt: skip
    found = Found("abcd1234", versions, {"passed": 900, "failed": 2}, {})
    rows = [line for line in page({"3.10-oldest": found}).splitlines() if line.startswith("| 3")]
    assert len(rows) == len(CELLS)
    assert rows[0] == (
        "| 3.10.13 | 2.18.1 | 3.8.0 | 0.4.34 | 2.0.2 | 900 passed, 2 failed | did not start | "
        "`abcd1234` |"
    )
    assert rows[1] == "| 3.10, newest | | | | | not run | not run | |"


def test_a_summary_is_read():
    line = "2 failed, 12 passed, 3 skipped, 1 deselected, 1 error in 12.34s"
    counted = {"failed": 2, "passed": 12, "skipped": 3, "error": 1}
    assert counts_in(line) == counted
    assert counts_in(f"1 passed\n{line} (0:00:12)\nI0000 a worker that ends: 3 failed") == counted
    assert counts_in("collecting ...") == {}


def test_every_supported_python_has_a_cell():
    text = (Path(__file__).parent.parent / "setup.py").read_text("utf-8")
    for version in ("3.10", "3.11", "3.12", "3.13"):
        assert f"Python :: {version}" in text
        assert f"{version}-newest" in CELLS
