"""The README's Python runs from top to bottom, on small data and for few steps."""

import json
import re
from pathlib import Path

import keras
import numpy as np

README = Path(__file__).parent.parent / "README.md"
SHORTER = {
    "epochs=10": "epochs=1",
    "steps_per_epoch=200": "steps_per_epoch=3",
    "steps_per_epoch=40": "steps_per_epoch=2",
    "every=500": "every=2",
}


def network():
    return keras.Sequential([keras.Input((6,)), keras.layers.Dense(10)])


def test_blocks_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(400, 6)).astype("float32"), np.arange(400) % 10
    plain = network()
    plain.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    # What the reader brings:
    namespace = {"x_train": x, "y_train": y, "x_test": x, "y_test": y}
    namespace |= {"my_keras_model": network(), "plain_keras_model": plain}
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 5
    for block in blocks:
        for long, short in SHORTER.items():
            block = block.replace(long, short)
        exec(compile(block, str(README), "exec"), namespace)
    (record,) = map(json.loads, (tmp_path / "variance.jsonl").read_text("utf-8").splitlines())
    assert record["step"] == 8  # the steps of three fits
    assert set(record["estimators"]) == {"SG-128", "SG-256", "stratified-10"}
    assert 0 < namespace["result"].variance_ratio < 1
