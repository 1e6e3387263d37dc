"""The Python of every guide runs as it stands, from top to bottom."""

import re
from pathlib import Path

import keras
import pytest

GUIDES = sorted((Path(__file__).parent.parent / "docs" / "guides").glob("*.md"))
BLOCKS = {
    guide: re.findall(r"```python\n(.*?)```", guide.read_text(encoding="utf-8"), re.DOTALL)
    for guide in GUIDES
}
WITH_CODE = [guide for guide in GUIDES if BLOCKS[guide]]


@pytest.mark.parametrize("guide", WITH_CODE, ids=lambda path: path.stem)
def test_blocks_run(guide, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    keras.utils.set_random_seed(0)
    namespace = {}
    for block in BLOCKS[guide]:
        exec(compile(block, str(guide), "exec"), namespace)
    assert capsys.readouterr().out.strip()


def test_guides_were_found():
    assert {"measure", "explain", "reduce", "replicas"} <= {guide.stem for guide in WITH_CODE}
