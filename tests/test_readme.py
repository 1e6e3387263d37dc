"""The README's Python runs as it stands, and what it links to is there."""

import re
from pathlib import Path

import keras

README = Path(__file__).parent.parent / "README.md"
TEXT = README.read_text(encoding="utf-8")


def test_blocks_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    keras.utils.set_random_seed(0)
    blocks = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert len(blocks) == 2
    namespace = {}
    for block in blocks:
        exec(compile(block, str(README), "exec"), namespace)
    assert "What would help" in (tmp_path / "noise.html").read_text(encoding="utf-8")
    printed = capsys.readouterr().out
    assert "noise scale" in printed
    assert namespace["model"].optimizer.cluster_gradients[0].shape[0] == 10


def test_links_lead_somewhere():
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", TEXT)
    assert len(links) > 10
    for link in links:
        assert (README.parent / link).exists(), link
