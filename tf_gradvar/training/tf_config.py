"""The environment variable TF_CONFIG, checked before TensorFlow reads it."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from typing import Any, NoReturn

EXAMPLE = (
    '{"cluster": {"worker": ["host0:12345", "host1:12345"]}, '
    '"task": {"type": "worker", "index": 0}}'
)
_TRAINING = ("chief", "worker")  # in the order of TensorFlow, which counts a chief first
_TASKS = (*_TRAINING, "ps", "evaluator")


@dataclasses.dataclass(frozen=True)
class Workers:
    """The processes that train together.

    Attributes:
        addresses: "host:port" of each, the chief first.
        index: The place of this process among them.
    """

    addresses: tuple[str, ...]
    index: int

    @property
    def own_port(self) -> int:
        """The port that the other workers know of this one."""
        return split_address(self.addresses[self.index])[1]

    def others(self) -> dict[int, str]:
        """Return the addresses of the other workers, by their places."""
        return {i: a for i, a in enumerate(self.addresses) if i != self.index}


def workers_of(environment: Mapping[str, str] | None = None) -> Workers | None:
    """Return the workers that TF_CONFIG names, or None if it names no cluster at all.

    Args:
        environment: Where TF_CONFIG is looked up. Defaults to that of the process.

    Returns:
        None if the variable is missing, blank or an empty object, as some platforms set it on a
        single machine.

    Raises:
        ValueError: If it is malformed, has no list of workers or no task, or its task is not one
            of the cluster's.
    """
    text = (os.environ if environment is None else environment).get("TF_CONFIG", "")
    if not text.strip():
        return None
    try:
        config = json.loads(text)
    except ValueError as error:
        _refuse(f"must be JSON ({error})", text)
    if not isinstance(config, dict):
        _refuse("must be a JSON object", text)
    if not config:
        return None
    addresses = _addresses(config.get("cluster"), text)
    return Workers(
        tuple(address for kind in _TRAINING for address in addresses.get(kind, ())),
        _place(config.get("task"), addresses, text),
    )


def split_address(address: str) -> tuple[str, int]:
    """Return the host and the port of "host:port"."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def _addresses(cluster: Any, text: str) -> dict[str, list[str]]:
    """Return the addresses of a cluster by the kind of their tasks."""
    if not isinstance(cluster, dict) or not cluster:
        _refuse('must have a "cluster", an object with the addresses of all workers', text)
    if "ps" in cluster:
        _refuse('must name workers alone: parameter servers ("ps") take no part here', text)
    if unknown := sorted(set(cluster) - set(_TASKS)):
        _refuse(f'must have no tasks in its "cluster" but {_TASKS}, not {unknown[0]!r}', text)
    if not cluster.get("worker") and not cluster.get("chief"):
        _refuse('must have a list "worker" in its "cluster"', text)
    for kind, addresses in cluster.items():
        if not isinstance(addresses, list) or not all(map(_is_address, addresses)):
            _refuse(f'must list every {kind} of its "cluster" as "host:port"', text)
    training = [address for kind in _TRAINING for address in cluster.get(kind, ())]
    if len(set(training)) < len(training):
        _refuse("must give every worker an address of its own", text)
    if len(cluster.get("chief", ())) > 1:
        _refuse('must have one "chief" at most', text)
    return cluster


def _is_address(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    host, _, port = value.rpartition(":")
    return bool(host) and port.isdecimal() and 0 < int(port) < 2**16


def _place(task: Any, addresses: dict[str, list[str]], text: str) -> int:
    """Return the place of a task among the workers, after the chief if there is one."""
    if not isinstance(task, dict) or "type" not in task or "index" not in task:
        _refuse('must have a "task" with the "type" and the "index" of this process', text)
    kind, index = task["type"], task["index"]
    known = [name for name in _TRAINING if addresses.get(name)]
    if kind not in known:
        _refuse(f'must have a "task" whose "type" is one of {known}, not {kind!r}', text)
    if isinstance(index, str) and index.isdecimal():  # TensorFlow takes it as well
        index = int(index)
    if not isinstance(index, int) or isinstance(index, bool):
        _refuse(f'must have an integer as the "index" of its "task", not {index!r}', text)
    count = len(addresses[kind])
    if not 0 <= index < count:
        _refuse(
            f'must have an "index" of its "task" from 0 to {count - 1}, as the "cluster" has '
            f"{count} of type {kind!r}, not {index}",
            text,
        )
    return index + (len(addresses.get("chief", ())) if kind == "worker" else 0)


def _refuse(rule: str, text: str) -> NoReturn:
    shown = text if len(text) <= 200 else f"{text[:200]}..."
    raise ValueError(
        f"The environment variable `TF_CONFIG` {rule}. Received: TF_CONFIG={shown!r}. Set it on "
        f"every worker, with another index, like {EXAMPLE}."
    )
