"""Configurations by name, and changes to them from the shell."""

import dataclasses
from typing import Any, Literal

import pytest

from keras_apps.running import changes
from keras_apps.running import configurations as configs


@dataclasses.dataclass(frozen=True)
class Part:
    name: str
    rate: float = 0.1
    options: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Whole:
    steps: int = 10
    scale: float = 1.0
    title: str = "whole"
    fast: bool = False
    limit: int | None = None
    seeds: tuple[int, ...] = (0,)
    order: Literal["random", "cycle"] = "random"
    part: Part = dataclasses.field(default_factory=lambda: Part("inner"))
    parts: tuple[Part, ...] = (Part("a"), Part("b"))


@pytest.mark.parametrize(
    ("change", "field", "value"),
    [
        ("steps=20", "steps", 20),
        ("scale=2", "scale", 2.0),
        ("scale=1e-3", "scale", 1e-3),
        ("title=a=b", "title", "a=b"),
        ("fast=true", "fast", True),
        ("fast=False", "fast", False),
        ("limit=3", "limit", 3),
        ("limit=none", "limit", None),
        ("seeds=1,2,3", "seeds", (1, 2, 3)),
        ("seeds=4", "seeds", (4,)),
        ("order=cycle", "order", "cycle"),
        ("part.rate=0.5", "part", Part("inner", 0.5)),
        ("part.options.beta=0.9", "part", Part("inner", options={"beta": 0.9})),
        ("part.options.units=[8, 4]", "part", Part("inner", options={"units": [8, 4]})),
        ("part.options.kind=adam", "part", Part("inner", options={"kind": "adam"})),
        ("part.options.a.b=1", "part", Part("inner", options={"a": {"b": 1}})),
        ("parts.b.rate=0.5", "parts", (Part("a"), Part("b", 0.5))),
        ("parts=b", "parts", (Part("b"),)),
        ("parts=b,a", "parts", (Part("a"), Part("b"))),
    ],
)
def test_a_change_is_read_by_the_type_of_its_field(change, field, value):
    changed = changes.change(Whole(), [change])
    assert getattr(changed, field) == value
    assert type(getattr(changed, field)) is type(value)
    assert dataclasses.replace(changed, **{field: getattr(Whole(), field)}) == Whole()


def test_changes_apply_in_order():
    changed = changes.change(Whole(), ["steps=5", "parts=a", "steps=6", "parts.a.rate=3"])
    assert (changed.steps, changed.parts) == (6, (Part("a", 3.0),))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("steps", "must be key=value"),
        ("step=3", "Did you mean 'steps'"),
        ("part.rat=3", "Did you mean 'rate'"),
        ("parts.c.rate=3", r"Received: 'c'; known there are \['a', 'b'\]"),
        ("parts=a,c", r"Received: 'c'; known there are \['a', 'b'\]"),
        ("parts.a=3", "`parts.a` must name a field of 'a'"),
        ("part=3", "`part` must be changed field by field"),
        ("steps.more=3", "There is no 'more' in it, because what comes before holds 10"),
        ("steps=three", "`steps` must be of type int. Received: steps='three'"),
        ("fast=yes", "`fast` must be of type bool. Received: fast='yes'"),
        ("seeds=1,x", "`seeds` must be of type int. Received: seeds='x'"),
        ("order=cycles", r"`order` must be one of \['random', 'cycle'\]"),
    ],
)
def test_bad_changes_get_a_sentence(change, message):
    with pytest.raises(ValueError, match=message):
        changes.change(Whole(), [change])


@pytest.mark.parametrize("name", configs.names())
def test_every_configuration_says_what_it_is(name):
    full = configs.load(name)
    for word in ("Reproduces:", "Expected:", "Command", f"--config {name}"):
        assert word in full.text
    assert configs.to_json(configs.load(f"{name}:quick").config) != configs.to_json(full.config)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("digit_classes", "Did you mean 'digits_classes'"),
        ("digits_classes:quik", "Did you mean 'quick'"),
        ("digits_classes:dataclasses", "must have the variant"),
        ("absent.py", "The configuration file absent.py must exist"),
    ],
)
def test_unknown_configurations_list_the_known(name, message):
    with pytest.raises(ValueError, match=message):
        configs.load(name)


def test_a_file_of_ones_own(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        '"""Mine."""\n'
        "from keras_apps.configs import digits_classes\n"
        "def config():\n    return digits_classes.config()\n"
        "def small():\n    return digits_classes.quick()\n"
    )
    assert configs.load(f"{path}:small", ["seeds=3"]).config.seeds == (3,)
    assert configs.load(str(path)).text == "Mine."


def test_the_rates_of_the_demo_were_among_the_candidates():
    experiment = configs.load("mnist5k_classes:demo").config
    assert not experiment.tuning_runs({})
    for optimizer in experiment.optimizers:
        assert set(optimizer.learning_rates) == {"1", "2", "8"}
        assert set(optimizer.learning_rates.values()) <= set(optimizer.candidates)


def test_a_field_that_old_folders_lack_is_told_only_where_it_is_used():
    plain = configs.to_json(configs.load("digits_classes").config)
    assert "weight_decay" not in plain
    assert "label_noise" not in plain["problem"]
    changed = configs.load("digits_classes", ["problem.label_noise=0.2", "weight_decay=0.1"])
    assert configs.to_json(changed.config)["problem"]["label_noise"] == 0.2
    assert configs.to_json(changed.config)["weight_decay"] == 0.1
    assert plain["problem"]["model_arguments"] is not None
