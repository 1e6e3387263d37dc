"""Configurations: a Python file for each experiment, variants in it, and changes from the shell.

A configuration file holds a function `config()` that returns a frozen dataclass, and any number
of functions for variants of it (`quick()`, `demo()`). `NAME:VARIANT` chooses one. Every default
lives in the dataclass, a file says only what differs, and `--set key=value` changes single fields
by their dotted names:

    steps=200                                   a field
    seeds=0,1,2                                 a tuple, written with commas
    problem.model=mlp                           a field of a nested dataclass
    optimizers.Adam.arguments.beta_1=0.95       an element by its name; a key of a dict
    optimizers=SGD,Discover                     only these elements, by name

Values are read by the type of the field. An unknown key is an error that lists the close ones.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import importlib.machinery
import inspect
import json
import pkgutil
import shlex
import types
import typing
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import keras_apps.configs

# The variant of every configuration that only shows that everything runs.
SMOKE_TEST = "quick"

# Which app takes the configurations of each kind.
APPS = {
    "Experiment": "keras_apps.train",
    "Study": "keras_apps.study",
    "ClusterPicture": "keras_apps.cluster_picture",
}


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A configuration and where it came from.

    Attributes:
        name: What was asked for, "NAME" or "NAME:VARIANT".
        config: The dataclass.
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
        app = APPS[type(load(whole).config).__name__]
        folder = str(Path("runs") / Path(whole).stem)
        return [
            "This was a smoke test: everything ran, but not for long enough to compare anything. "
            "Its numbers and pictures only show what a report looks like; nothing follows from "
            "them. The experiment itself:",
            f"python -m {app} {shlex.join(['--config', whole, '--workdir', folder])}",
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
            f"{others}. Received {variant or 'config'!r}.{_hint(variant, others)}"
        )
    config = change(chosen(), changes)
    if hasattr(config, "check"):  # Not at construction: several changes may only fit together.
        config.check()
    return Loaded(name, config, inspect.getdoc(module) or "", changes)


def names(kind: type = object) -> list[str]:
    """Names of the configurations that come with the package, sorted.

    Args:
        kind: Only those of this dataclass. Defaults to all.

    Returns:
        Names, as `load` takes them.
    """
    found = sorted(module.name for module in pkgutil.iter_modules(keras_apps.configs.__path__))
    return [name for name in found if kind is object or isinstance(load(name).config, kind)]


def change(config: Any, changes: Iterable[str]) -> Any:
    """A copy of a configuration with some fields changed.

    Args:
        config: A dataclass.
        changes: Assignments "key=value" with dotted keys, applied in order.

    Returns:
        A dataclass of the same type.

    Raises:
        ValueError: An assignment without "=", an unknown key, or a value of the wrong type.
    """
    for assignment in changes:
        key, equals, value = assignment.partition("=")
        if not equals:
            raise ValueError(
                f"A change must be written as key=value. Received {assignment!r}, which has no '='."
            )
        config = _changed(config, key.strip().split("."), value.strip(), key.strip())
    return config


def to_json(config: Any) -> dict[str, Any]:
    """The configuration as JSON-plain values, to be stored and compared."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


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
            f"Received {name!r}.{_hint(name, names())}"
        )
    return importlib.import_module(f"keras_apps.configs.{name}")


def _changed(node: Any, path: Sequence[str], text: str, key: str) -> Any:
    """`node` with the entry at `path` replaced by what `text` says; `key` is for errors."""
    head, rest = path[0], path[1:]
    if dataclasses.is_dataclass(node) and not isinstance(node, type):
        fields = [field.name for field in dataclasses.fields(node)]
        _check_known(head, fields, key)
        old = getattr(node, head)
        if rest:
            new = _changed(old, rest, text, key)
        else:
            new = _parsed(text, typing.get_type_hints(type(node))[head], old, key)
        return dataclasses.replace(node, **{head: new})
    if _is_named_tuple_of_dataclasses(node):
        _check_known(head, [element.name for element in node], key)
        if not rest:
            raise ValueError(f"`{key}` must name a field of {head!r}, for example `{key}.name`.")
        return tuple(
            _changed(element, rest, text, key) if element.name == head else element
            for element in node
        )
    if isinstance(node, dict):
        entry = _changed(node.get(head, {}), rest, text, key) if rest else _literal(text)
        return {**node, head: entry}
    raise ValueError(
        f"`{key}` must name a field. There is no {head!r} in it, because what comes before holds "
        f"{node!r} in this configuration."
    )


def _parsed(text: str, kind: Any, old: Any, key: str) -> Any:
    """The value that `text` stands for in a field of type `kind`."""
    if _is_named_tuple_of_dataclasses(old):
        wanted = [part.strip() for part in text.split(",") if part.strip()]
        for name in wanted:
            _check_known(name, [element.name for element in old], key)
        return tuple(element for element in old if element.name in wanted)
    options = typing.get_args(kind)
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        if text.lower() == "none" and type(None) in options:
            return None
        kind = next(option for option in options if option is not type(None))
        options = typing.get_args(kind)
    if typing.get_origin(kind) is tuple:
        parts = [part.strip() for part in text.split(",") if part.strip()]
        return tuple(_scalar(part, options[0], key) for part in parts)
    if typing.get_origin(kind) is typing.Literal and text not in options:
        raise ValueError(f"`{key}` must be one of {list(options)}. Received {text!r}.")
    return text if typing.get_origin(kind) is typing.Literal else _scalar(text, kind, key)


def _scalar(text: str, kind: Any, key: str) -> Any:
    readers: dict[Any, Callable[[str], Any]] = {
        bool: lambda word: {"true": True, "false": False}[word.lower()],
        int: int,
        float: float,
        str: str,
    }
    if kind not in readers:
        raise ValueError(
            f"`{key}` must be changed field by field: it holds {getattr(kind, '__name__', kind)}. "
            f"Use `{key}.FIELD=value`."
        )
    try:
        return readers[kind](text)
    except (ValueError, KeyError):
        raise ValueError(f"`{key}` must be of type {kind.__name__}. Received {text!r}.") from None


def _literal(text: str) -> Any:
    """A JSON value if it is one, else the text itself: dicts hold values of any type."""
    try:
        return json.loads(text)
    except ValueError:
        return {"none": None, "true": True, "false": False}.get(text.lower(), text)


def _is_named_tuple_of_dataclasses(node: Any) -> bool:
    return (
        isinstance(node, tuple)
        and bool(node)
        and all(dataclasses.is_dataclass(element) and hasattr(element, "name") for element in node)
    )


def _check_known(name: str, known: Sequence[str], key: str) -> None:
    if name not in known:
        raise ValueError(
            f"`{key}` must name something that the configuration has. Received {name!r}; known "
            f"there are {list(known)}.{_hint(name, known)}"
        )


def _hint(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known))
    return f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
