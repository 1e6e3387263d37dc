"""Changes from the shell: `--set key=value` sets fields of a configuration by dotted names.

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
import json
import types
import typing
from collections.abc import Callable, Iterable, Sequence
from typing import Any


def change(config: Any, changes: Iterable[str]) -> Any:
    """Return a copy of a configuration with some fields changed, in the order of the changes.

    Raises:
        ValueError: An assignment without "=", an unknown key, or a value of the wrong type.
    """
    for assignment in changes:
        key, equals, value = assignment.partition("=")
        if not equals:
            raise ValueError(
                f"A change must be key=value. Received: {assignment!r}, which has no '='."
            )
        config = _changed(config, key.strip().split("."), value.strip(), key.strip())
    return config


def _changed(node: Any, path: Sequence[str], text: str, key: str) -> Any:
    """Return `node` with the entry at `path` replaced by what `text` says; `key` is for errors."""
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
    """Return the value that `text` stands for in a field of type `kind`."""
    if _is_named_tuple_of_dataclasses(old):
        wanted = [part.strip() for part in text.split(",") if part.strip()]
        for name in wanted:
            _check_known(name, [element.name for element in old], key)
        return tuple(element for element in old if element.name in wanted)
    options = typing.get_args(kind)
    if text.lower() == "none" and type(None) in options:
        return None
    if dataclasses.is_dataclass(old):
        kind, options = type(old), ()
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        kind = next(option for option in options if option is not type(None))
        options = typing.get_args(kind)
    if typing.get_origin(kind) is tuple:
        parts = [part.strip() for part in text.split(",") if part.strip()]
        return tuple(_scalar(part, options[0], key) for part in parts)
    if typing.get_origin(kind) is typing.Literal and text not in options:
        raise ValueError(f"`{key}` must be one of {list(options)}. Received: {key}={text!r}.")
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
        raise ValueError(
            f"`{key}` must be of type {kind.__name__}. Received: {key}={text!r}."
        ) from None


def _literal(text: str) -> Any:
    """Return a JSON value if it is one, else the text itself: dicts hold values of any type."""
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
            f"`{key}` must name something that the configuration has. Received: {name!r}; known "
            f"there are {list(known)}.{hint(name, known)}"
        )


def hint(name: str, known: Iterable[str]) -> str:
    """Return a question that names what is spelt alike, or nothing."""
    close = difflib.get_close_matches(name, list(known))
    return f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
