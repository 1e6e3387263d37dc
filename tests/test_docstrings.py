"""The names of the package are documented: arguments, errors, source, cost, and an example.

The examples themselves are run as doctests.
"""

import inspect

import pytest

import tf_gradvar

NAMES = sorted(tf_gradvar._HOMES)
# What functions return: their attributes are what there is to say.
RESULTS = {"ClusteringResult", "Diagnosis"}


@pytest.mark.parametrize("name", NAMES)
def test_a_public_name_says_what_a_user_needs(name):
    text = inspect.getdoc(getattr(tf_gradvar, name))
    assert "Args:" in text or "Attributes:" in text
    if name in RESULTS:
        return
    for word in ("Raises:", "Example:\n", ">>> ", "Source: "):
        assert word in text, f"{name} lacks {word!r}"
    assert "Cost: " in text or "Memory: " in text, f"{name} does not say what it costs"


@pytest.mark.parametrize("name", NAMES)
def test_every_argument_is_described(name):
    thing = getattr(tf_gradvar, name)
    if name in {*RESULTS, "ClusterModel"}:  # a dataclass; Keras' own (inputs, outputs)
        return
    text = inspect.getdoc(thing)
    for argument, parameter in inspect.signature(thing).parameters.items():
        if argument == "name" and "name:" not in text:
            continue  # of a Keras optimizer
        if (name, argument) == ("DiscoverOver", "kwargs"):
            continue  # refused
        stars = {parameter.VAR_KEYWORD: "**", parameter.VAR_POSITIONAL: "*"}.get(parameter.kind, "")
        assert f"{stars}{argument}: " in text, f"{name} does not describe {argument}"
