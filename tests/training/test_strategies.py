"""Strategies by name, TF_CONFIG, and workers that wait for each other; no strategy is kept."""

import json
import socket
import threading
import time
import types

import pytest
import tensorflow as tf

from tf_gradvar.training import meeting, pick_strategy
from tf_gradvar.training.tf_config import Workers, workers_of
from tf_gradvar.training.workers import (
    any_worker,
    count_workers,
    is_chief,
    naming_lost_workers,
    same_everywhere,
)

TWO = {"worker": ["host0:1", "host1:2"]}


def config(cluster=TWO, kind="worker", index=0):
    return json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}})


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch):
    for variable in ("TF_CONFIG", "TPU_NAME", "COLAB_TPU_ADDR", "TPU_ACCELERATOR_TYPE",
                     "TPU_WORKER_ID"):  # fmt: skip
        monkeypatch.delenv(variable, raising=False)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{cluster", "must be JSON"),
        ("[1]", "must be a JSON object"),
        ('{"task": {"type": "worker", "index": 0}}', 'must have a "cluster"'),
        (config({}), 'must have a "cluster"'),
        (config({"chief": []}), 'must have a list "worker"'),
        (config({"worker": []}), 'must have a list "worker"'),
        (config({"workers": ["a:1"]}), "must have no tasks"),
        (config({**TWO, "ps": ["a:3"]}), "must name workers alone"),
        (config({"worker": "host0:1"}), 'must list every worker of its "cluster" as "host:port"'),
        (config({"worker": ["host0"]}), 'must list every worker of its "cluster" as "host:port"'),
        (config({"worker": ["host0:65536"]}), "must list every worker"),
        (config({"worker": ["a:1", "a:1"]}), "must give every worker an address of its own"),
        (config({**TWO, "chief": ["a:1", "b:1"]}), 'must have one "chief" at most'),
        (json.dumps({"cluster": TWO}), 'must have a "task"'),
        (json.dumps({"cluster": TWO, "task": {"type": "worker"}}), 'must have a "task"'),
        (config(kind="chief"), "\"type\" is one of ['worker'], not 'chief'"),
        (config(index=2), "from 0 to 1, as the \"cluster\" has 2 of type 'worker', not 2"),
        (config(index=-1), "from 0 to 1"),
        (config(index="first"), "must have an integer"),
        (config(index=True), "must have an integer"),
        (config(index=None), "must have an integer"),
    ],
)
def test_a_malformed_configuration_is_a_sentence(monkeypatch, text, words):
    monkeypatch.setenv("TF_CONFIG", text)
    for name in ("multi_worker", "auto"):
        with pytest.raises(ValueError, match="`TF_CONFIG`") as caught:
            pick_strategy(name)
        assert words in str(caught.value)
        assert "Received: TF_CONFIG=" in str(caught.value)


def test_a_long_configuration_is_shortened():
    text = config({"worker": [f"host{i}:1" for i in range(100)]}, index=100)
    with pytest.raises(ValueError, match="from 0 to 99") as caught:
        workers_of({"TF_CONFIG": text})
    assert len(str(caught.value)) < 700


def test_workers_are_read_and_a_chief_counts_first():
    assert workers_of({}) is workers_of({"TF_CONFIG": " "}) is workers_of({"TF_CONFIG": "{}"})
    assert workers_of({"TF_CONFIG": config(index="1")}) == Workers(("host0:1", "host1:2"), 1)
    with_chief = {**TWO, "chief": ["host2:3"], "evaluator": ["host3:4"]}
    workers = workers_of({"TF_CONFIG": config(with_chief, index=1)})
    assert workers == Workers(("host2:3", "host0:1", "host1:2"), 2)
    assert workers.own_port == 2
    assert workers.others() == {0: "host2:3", 1: "host0:1"}


@pytest.mark.parametrize("value", [None, "", "{}"])
def test_several_workers_need_a_configuration(monkeypatch, value):
    if value is not None:
        monkeypatch.setenv("TF_CONFIG", value)
    with pytest.raises(ValueError, match="needs the environment variable `TF_CONFIG`"):
        pick_strategy("multi_worker")
    assert pick_strategy().num_replicas_in_sync == 1


def free_ports(count):
    sockets = [socket.create_server(("localhost", 0)) for _ in range(count)]
    ports = [made.getsockname()[1] for made in sockets]
    for made in sockets:
        made.close()
    return ports


def addresses(ports):
    return tuple(f"localhost:{port}" for port in ports)


def test_a_worker_alone_says_for_whom_it_waits(monkeypatch, capsys):
    assert meeting.FIRST_REPORT + meeting.NEXT_REPORT <= 20
    monkeypatch.setattr(meeting, "FIRST_REPORT", 0.3)
    monkeypatch.setattr(meeting, "NEXT_REPORT", 0.5)
    ports = free_ports(2)
    monkeypatch.setenv("TF_CONFIG", config({"worker": addresses(ports)}))
    words = f"waiting for worker 1 of 2 at localhost:{ports[1]}"
    with pytest.raises(TimeoutError, match=f"^Worker 0 gave up {words}.* after 1.2 s"):
        pick_strategy("auto", timeout=1.2)
    assert capsys.readouterr().err.count(words) == 2


def test_workers_meet_whoever_comes_first():
    where = addresses(free_ports(3))
    reports, errors = [], []

    def worker(index):
        try:
            time.sleep(0.4 * index)
            meeting.meet(Workers(where, index), 20.0, reports.append)
            _, port = where[index].split(":")  # as TensorFlow, which listens from now on
            with socket.create_server(("", int(port))):
                met.wait()
        except OSError as error:
            errors.append(error)
            met.abort()

    met = threading.Barrier(3, timeout=20)
    threads = [threading.Thread(target=worker, args=(index,)) for index in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert not met.broken
    assert not reports


def test_a_port_that_is_taken_is_a_sentence():
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"The port {port}, which `TF_CONFIG` gives"):
            meeting.meet(Workers((f"localhost:{port}", "localhost:1"), 0), 1.0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"name": "pods"}, "`name` must be one of"),
        ({"timeout": 0}, "`timeout` must be a number"),
        ({"num_devices": 0}, "`num_devices` must be an integer"),
        ({"name": "mirrored", "num_devices": 1000}, "must not exceed the devices of this machine"),
        ({"num_devices": 1000}, "must not exceed the devices of this machine"),
        ({"name": "one_device", "num_devices": 2}, "counts the devices of the strategy 'mirrored'"),
    ],
)
def test_arguments_are_checked(arguments, words):
    with pytest.raises(ValueError, match=words):
        pick_strategy(**arguments)


def test_one_device_is_the_default_strategy():
    assert pick_strategy("one_device", num_devices=1) is tf.distribute.get_strategy()


def test_workers_join_before_anything_else(monkeypatch):
    tf.constant(0)
    monkeypatch.setenv("TF_CONFIG", config({"worker": addresses(free_ports(1))}))
    with pytest.raises(RuntimeError, match="must come before all other TensorFlow operations"):
        pick_strategy("multi_worker")


class Resolver:
    """In place of a TPU: only some names are there."""

    def __init__(self, there):
        self.there, self.asked = there, []

    def __call__(self, tpu):
        self.asked.append(tpu)
        if tpu not in self.there:
            raise ValueError(f"no TPU at {tpu!r}\nand much more")
        return tpu


@pytest.mark.parametrize(
    ("environment", "there", "asked"),
    [
        ({"TPU_ACCELERATOR_TYPE": "v3-8"}, {"local", ""}, ["local"]),
        ({"TPU_NAME": "pod"}, {"pod"}, ["local", "pod"]),
        ({"COLAB_TPU_ADDR": "10.0.0.2:8470"}, {"grpc://10.0.0.2:8470"},
         ["local", "grpc://10.0.0.2:8470"]),
    ],
)  # fmt: skip
def test_a_tpu_of_this_machine_comes_before_one_that_is_named(
    monkeypatch, environment, there, asked
):
    """TPUs themselves were never at hand: TensorFlow's part is replaced."""
    resolver = Resolver(there)
    nothing = types.SimpleNamespace(initialize_tpu_system=lambda resolver: None)
    monkeypatch.setattr(tf.distribute.cluster_resolver, "TPUClusterResolver", resolver)
    monkeypatch.setattr(tf.config, "experimental_connect_to_cluster", lambda resolver: None)
    monkeypatch.setattr(tf.tpu, "experimental", nothing)
    monkeypatch.setattr(tf.distribute, "TPUStrategy", lambda resolver: f"TPU {resolver}")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert pick_strategy("auto") == f"TPU {asked[-1]}"
    assert resolver.asked == asked
    resolver.there = set()
    with pytest.raises(RuntimeError, match="The strategy 'tpu' needs a TPU") as caught:
        pick_strategy("tpu")
    assert "no TPU at 'local'; " in str(caught.value)


def test_one_process_is_its_own_chief_and_agrees_with_itself():
    strategy = tf.distribute.get_strategy()
    assert count_workers(strategy) == 1
    assert is_chief(strategy)
    assert any_worker(strategy, True, False) == [True, False]
    assert same_everywhere(strategy, 7)
    with pytest.raises(tf.errors.AbortedError), naming_lost_workers(strategy):
        raise tf.errors.AbortedError(None, None, "as it is")
