"""Configurations by name: a Python file for each experiment, and variants in it.

A configuration file holds a function `config()` that returns a dataclass, and any number of
functions for variants of it (`quick()`, `demo()`). `NAME:VARIANT` chooses one. Every default lives
in the dataclass, a file says only what differs, and `--set key=value` changes single fields.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.machinery
import inspect
import json
import pkgutil
import shlex
import types
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import keras_apps.configs
from keras_apps.experiments.training_problem import LATER
from keras_apps.running.changes import change, hint

# The variant of every configuration that only shows that everything runs.
SMOKE_TEST = "quick"


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A configuration and where it came from.

    Attributes:
        name: What was asked for, "NAME" or "NAME:VARIANT".
        config: The dataclass; its `command` is the app that takes it.
        text: The docstring of its file.
        changes: The assignments "key=value" that were made in it.
    """

    name: str
    config: Any
    text: str
    changes: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """The words of a command line that ask for the same configuration."""
        changes = (word for change in self.changes for word in ("--set", change))
        return shlex.join(["--config", self.name, *changes])

    @property
    def is_smoke_test(self) -> bool:
        """Whether it only shows that everything runs, so that its numbers mean nothing."""
        return self.name.partition(":")[2] == SMOKE_TEST

    @property
    def title(self) -> str:
        """The title of the configuration; that of a smoke test says so."""
        return f"Smoke test: {self.config.title}" if self.is_smoke_test else self.config.title

    def conclusions(self, findings: Sequence[str]) -> list[str]:
        """Return the findings; for a smoke test a notice that there are none, and a command."""
        if not self.is_smoke_test:
            return list(findings)
        whole = self.name.partition(":")[0]
        folder = str(Path("runs") / Path(whole).stem)
        return [
            "This was a smoke test: everything ran, but not for long enough to compare anything. "
            "Its numbers and pictures only show what a report looks like; nothing follows from "
            "them. The experiment itself:",
            f"python -m {load(whole).config.command} "
            f"{shlex.join(['--config', whole, '--workdir', folder])}",
        ]


def load(name: str, changes: Iterable[str] = ()) -> Loaded:
    """Load a configuration by name, and change fields of it.

    Args:
        name: "NAME" or "NAME:VARIANT", where NAME is one of `names()` or the path of a Python
            file, which ends in ".py".
        changes: Assignments "key=value", as after `--set`.

    Returns:
        The configuration.

    Raises:
        ValueError: An unknown name, variant or key, a value of the wrong type, or what the
            configuration's own `check()` refuses.

    Example:
        >>> load("digits_classes:quick", ["steps=60"]).config.steps
            60
    """
    changes = tuple(changes)
    module_name, _, variant = name.partition(":")
    module = _module(module_name)
    variants = {
        key: function
        for key, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__ and not key.startswith("_")
    }
    chosen = variants.get(variant or "config")
    if chosen is None:
        others = sorted(set(variants) - {"config"})
        raise ValueError(
            f"The configuration {module_name!r} must have the variant that is asked for. It has "
            f"{others}. Received: variant={variant or 'config'!r}.{hint(variant, others)}"
        )
    config = change(chosen(), changes)
    if hasattr(config, "check"):  # Not at construction: several changes may only fit together.
        config.check()
    return Loaded(name, config, inspect.getdoc(module) or "", changes)


def names(kind: type = object) -> list[str]:
    """Return the names of the configurations that come with the package, sorted.

    Args:
        kind: Only those of this dataclass. Defaults to all.
    """
    found = sorted(module.name for module in pkgutil.iter_modules(keras_apps.configs.__path__))
    return [name for name in found if kind is object or isinstance(load(name).config, kind)]


def to_json(config: Any) -> dict[str, Any]:
    """Return the configuration as JSON-plain values, to be stored and compared."""
    plain: dict[str, Any] = json.loads(json.dumps(_as_dict(config)))
    return plain


def _as_dict(node: Any) -> Any:
    """Return a dataclass as a dict, without what an older configuration lacks and does not need."""
    if isinstance(node, list | tuple):
        return [_as_dict(element) for element in node]
    if isinstance(node, dict):
        return {key: _as_dict(value) for key, value in node.items()}
    if not dataclasses.is_dataclass(node):
        return node
    values = {field: getattr(node, field.name) for field in dataclasses.fields(node)}
    return {
        field.name: _as_dict(value)
        for field, value in values.items()
        if not (LATER.items() <= field.metadata.items() and value == field.default)
    }


def _module(name: str) -> types.ModuleType:
    if name.endswith(".py"):
        path = Path(name)
        if not path.is_file():
            raise ValueError(f"The configuration file {name} must exist. It does not.")
        module = types.ModuleType(path.stem)
        importlib.machinery.SourceFileLoader(path.stem, str(path)).exec_module(module)
        return module
    if name not in names():
        raise ValueError(
            f"The configuration must be one of {names()}, or the path of a Python file. "
            f"Received: name={name!r}.{hint(name, names())}"
        )
    return importlib.import_module(f"keras_apps.configs.{name}")
