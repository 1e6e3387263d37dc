"""Records survive torn lines, numbers that JSON does not have, and continued runs."""

import errno
import json
import logging
import math

import numpy as np
import pytest

from tf_gradvar import records as records_module
from tf_gradvar.records import RecordFile, from_plain, to_plain


@pytest.fixture
def records(tmp_path):
    return RecordFile(tmp_path / "folder" / "records.jsonl")


def test_records_come_back_in_order(records):
    written = [{"run": "sgd", "step": step, "loss": 0.5**step} for step in range(5)]
    for record in written:
        records.append(record)
    assert records.read() == written
    assert RecordFile(records.path).read() == written


def test_a_full_disk_leaves_no_torn_line_behind(records, monkeypatch):
    """The disk is full after half a line; then somebody makes room."""

    class Full:
        def __init__(self, *arguments):
            self.file = open(*arguments)  # noqa: SIM115

        def __enter__(self):
            return self

        def __exit__(self, *exception):
            self.file.close()

        def write(self, line):
            self.file.write(line[: len(line) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")

    records.append({"step": 1})
    with monkeypatch.context() as full:
        full.setattr(records_module, "open", Full, raising=False)
        for _ in range(2):
            with pytest.raises(OSError, match="No space left"):
                records.append({"step": 2})
    assert not records.path.read_bytes().endswith(b"\n")
    assert records.read() == [{"step": 1}]
    records.append({"step": 3})
    records.append({"step": 4})
    assert records.read() == [{"step": 1}, {"step": 3}, {"step": 4}]


def test_checking_a_path_changes_nothing(records):
    records.check_writable()
    assert not records.path.exists()
    records.append({"step": 1})
    records.check_writable()
    assert records.read() == [{"step": 1}]


def test_a_file_that_does_not_exist_holds_no_records(records):
    assert records.read() == []
    assert records.truncate_after(3) == 0


def test_each_line_is_strict_json(records):
    records.append({"loss": float("nan"), "bound": float("inf"), "floor": -float("inf")})
    line = records.path.read_text()
    json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    (record,) = records.read()
    assert math.isnan(record["loss"])
    assert record["bound"] == math.inf
    assert record["floor"] == -math.inf


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (np.float32(0.5), 0.5),
        (np.float64(0.1), 0.1),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.arange(3), [0, 1, 2]),
        (np.asarray(0.25, "float16"), 0.25),
        ((1, [2.0, None]), [1, [2.0, None]]),
        ({"a": {"b": np.float32(2)}}, {"a": {"b": 2.0}}),
        (True, True),
        ("text", "text"),
    ],
)
def test_values_become_plain(value, plain):
    result = to_plain(value)
    assert result == plain
    assert type(result) is type(plain)
    assert from_plain(json.loads(json.dumps(result))) == plain


def test_tensors_become_plain():
    tf = pytest.importorskip("tensorflow")
    assert to_plain({"loss": tf.constant(0.5), "sizes": tf.range(2)}) == {
        "loss": 0.5,
        "sizes": [0, 1],
    }


@pytest.mark.parametrize("value", [object(), {1, 2}, 1j, np.datetime64("2020-01-01")])
def test_other_values_are_refused(records, value):
    with pytest.raises(TypeError, match="A record holds numbers, strings, lists and dicts"):
        records.append({"value": value})
    assert not records.path.exists()


def test_keys_must_be_strings(records):
    with pytest.raises(TypeError, match="The keys of a record must be strings"):
        records.append({"sizes": {1: 2}})


@pytest.mark.parametrize("cut", [1, 2, 10])
def test_a_torn_last_line_is_dropped_and_cut_before_the_next_record(records, caplog, cut):
    records.append({"step": 1})
    records.append({"step": 2, "loss": 0.125})
    content = records.path.read_bytes()
    records.path.write_bytes(content[:-cut])
    reopened = RecordFile(records.path)
    with caplog.at_level(logging.WARNING):
        assert reopened.read() == [{"step": 1}]
    assert "is torn" in caplog.text
    reopened.append({"step": 2, "loss": 0.5})
    assert reopened.read() == [{"step": 1}, {"step": 2, "loss": 0.5}]


def test_a_file_that_is_one_torn_line_starts_afresh(records):
    records.path.parent.mkdir()
    records.path.write_text('{"step": 1, "lo')
    records.append({"step": 1})
    assert records.read() == [{"step": 1}]


def test_a_broken_line_in_the_middle_is_an_error(records):
    records.append({"step": 1})
    with open(records.path, "a") as file:
        file.write("not json\n")
    records.append({"step": 2})
    with pytest.raises(ValueError, match=r"Line 2 of .* must be a JSON object"):
        records.read()


def test_truncate_removes_later_steps_of_one_run(records):
    for step in (1, 2, 3):
        records.append({"run": "sgd", "step": step})
        records.append({"run": "igt", "step": step})
    records.append({"run": "sgd", "finished": True})
    assert records.truncate_after(1, run="sgd") == 2
    assert records.read() == [
        {"run": "sgd", "step": 1},
        {"run": "igt", "step": 1},
        {"run": "igt", "step": 2},
        {"run": "igt", "step": 3},
        {"run": "sgd", "finished": True},
    ]
    assert records.truncate_after(0) == 4
    records.append({"run": "sgd", "step": 1})
    assert records.read() == [{"run": "sgd", "finished": True}, {"run": "sgd", "step": 1}]


def test_truncate_keeps_numbers_that_json_does_not_have(records):
    records.append({"step": 1, "loss": float("inf")})
    records.append({"step": 2, "loss": float("nan")})
    records.truncate_after(1)
    assert records.read() == [{"step": 1, "loss": math.inf}]
