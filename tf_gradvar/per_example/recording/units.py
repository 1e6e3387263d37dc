"""The layers that are measured, each by a rule or by the fallback.

A unit is a layer together with the trainable variables that it accounts for. Layers with a rule
are units; so are layers that run their parts in a loop of their own (recurrent layers), with all
their variables; other composites are looked into, and are units only for the variables
that they own themselves. Frozen layers are no units.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import keras

from tf_gradvar.keras_internals import flatten_layers
from tf_gradvar.per_example.rules.registry import Rule, Unit, Variable, find_rule

# These call their inner layers inside loops, where nothing can be watched.
_OPAQUE = (keras.layers.RNN,)


def find_units(model: keras.Model) -> list[Unit]:
    """The units of a model, in the order in which their layers were created.

    Raises:
        ValueError: If the model is not built or has no trainable variables.
    """
    if not model.built:
        raise ValueError(
            f"`model` must be built, received the unbuilt model '{model.name}'; call it once on "
            "some data, or give it an input shape."
        )
    places = {id(variable): index for index, variable in enumerate(model.trainable_variables)}
    if not places:
        raise ValueError(
            f"`model` must have trainable variables, '{model.name}' has none; "
            "set `trainable = True` on the layers that you want to measure."
        )
    units: list[Unit] = []
    names: dict[str, int] = {}
    taken: set[int] = set()
    for layer, rule, variables in _candidates(model, set()):
        mine = [v for v in variables if id(v) in places and id(v) not in taken]
        if not mine:
            continue
        taken.update(id(v) for v in mine)
        path = _path(layer)
        names[path] = names.get(path, 0) + 1
        name = path if names[path] == 1 else f"{path}_{names[path]}"
        units.append(Unit(name, layer, rule, tuple(mine), tuple(places[id(v)] for v in mine)))
    return units


def enclosing_units(model: keras.Model, hidden: Sequence[Unit]) -> list[Unit]:
    """For units that do not show their gradients: the next larger composites around them.

    Raises:
        ValueError: If a unit is the whole model already.
    """
    parents: dict[int, keras.layers.Layer] = {}
    for layer in flatten_layers(model):
        for part in _parts(layer):
            parents.setdefault(id(part), layer)
    variables: dict[int, list[tuple[Variable, int]]] = {}
    for unit in hidden:
        if unit.layer is model:
            raise ValueError(
                f"The outputs of `model` must have a batch axis and lead to all uses of the "
                f"variables of '{unit.name}'; per-example gradients cannot be told apart."
            )
        pairs = zip(unit.variables, unit.indices, strict=True)
        variables.setdefault(id(parents[id(unit.layer)]), []).extend(pairs)
    layers = {id(layer): layer for layer in flatten_layers(model)}
    return [
        Unit(_path(layers[key]), layers[key], None, *zip(*pairs, strict=True))
        for key, pairs in variables.items()
    ]


def _candidates(
    layer: keras.layers.Layer, seen: set[int]
) -> Iterator[tuple[keras.layers.Layer, Rule | None, list[Variable]]]:
    if id(layer) in seen:
        return
    seen.add(id(layer))
    rule = find_rule(layer)
    parts = _parts(layer)
    if rule is not None or not parts or isinstance(layer, _OPAQUE):
        yield layer, rule, layer.variables
        return
    # Not `trainable_variables`: a frozen part may hold layers that train (LoRA in a backbone).
    inner = {id(v) for part in parts for v in part.variables}
    yield layer, None, [v for v in layer.variables if id(v) not in inner]
    for part in parts:
        yield from _candidates(part, seen)


def _path(layer: keras.layers.Layer) -> str:
    return layer.path or layer.name


def _parts(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    return flatten_layers(layer, include_self=False, recursive=False)
