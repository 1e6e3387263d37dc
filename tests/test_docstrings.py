"""The names of the reference are documented, by what they are.

- What functions return: every field, and the shape of every array.
- Functions, and classes that users construct: every argument with its default, and the shape of
  an array; what is returned and raised; an example; what it costs; the source.
- Methods that a page shows: a summary, and every argument.

The examples themselves are run as doctests.
"""

import importlib
import inspect
import re
from pathlib import Path

import pytest

REFERENCE = Path(__file__).parent.parent / "docs" / "reference"
ENTRY = re.compile(r"^\.\. auto(class|function|module):: (\S+)(\n   :members:)?", re.M)

RESULTS = {
    "Apart",
    "ClusterSampling",
    "ClusteringResult",
    "Concentration",
    "Design",
    "Diagnosis",
    "Duplicates",
    "Estimate",
    "EstimatorVariance",
    "GradientNoise",
    "GroupNoise",
    "GroupRow",
    "LayerNoise",
    "LayerVariance",
    "Means",
    "Measured",
    "Measurement",
    "Option",
    "Preempted",
    "Projection",
    "Setting",
    "Statistics",
    "StratifiedSampling",
    "Terms",
    "WeightedBatch",
    "Who",
    "WrongLabels",
}
# They raise nothing of their own.
WITHOUT_ERRORS = {
    "Estimator",
    "Explicit",
    "Factors",
    "GradientForm",
    "Layout",
    "Lookup",
    "Moments",
    "Outer",
    "Sums",
    "Wanted",
    "added",
    "design_of",
    "estimator_colors",
    "factor_products",
    "form_products",
    "from_plain",
    "full_products",
    "mean_factors",
    "mean_squares",
    "members_of",
    "noise_scale",
    "ratio_sums",
    "shares_of",
    "sizes_of",
    "smoothed",
    "variable_layers",
    "variances",
    "weighted_sums",
}
# From no paper: schedules, strategies and loops, figures and records, and what only holds or
# counts what others compute.
WITHOUT_SOURCE = {
    "Explicit",
    "GradientForm",
    "Layout",
    "Lookup",
    "ModelLoss",
    "RecordFile",
    "Wanted",
    "added",
    "at",
    "check_assignments",
    "check_examples",
    "design_of",
    "estimator_colors",
    "every",
    "from_plain",
    "log_spaced",
    "members_of",
    "pick_strategy",
    "plot_layers",
    "plot_norm_spectrum",
    "plot_variance",
    "register_rule",
    "save",
    "shares_of",
    "sizes_of",
    "smoothed",
    "to_plain",
    "train_steps",
    "variable_layers",
}

ARRAY = re.compile(r"\b(ndarray|Tensor|ArrayLike|Arrays|Gradients)\b")
# Arrays whose annotation is Any: many types serve.
ARRAYS = {"assignments", "cluster_probabilities", "clusters", "previous", "sample_weight", "x"}
SHAPE = re.compile(r"\[[^]]+\]")
DEFAULT = re.compile(r"[Dd]efault")
# Words that send the reader to another description, which has shape and default.
REFERRED = re.compile(r"\bAs (in|for)\b|\blikewise\b")


def things():
    """Name -> (thing, whether its methods are shown), of all pages."""
    found = {}
    for page in sorted(REFERENCE.glob("*.md")):
        text = page.read_text(encoding="utf-8")
        module = re.search(r"^\.\. module:: (\S+)$", text, re.M)
        for kind, name, members in ENTRY.findall(text):
            home, _, last = name.rpartition(".")
            names = [last]
            if kind == "module":
                home, names = name, public_names(name) if members else []
            room = importlib.import_module(home or module[1])
            found |= {name: (getattr(room, name), bool(members)) for name in names}
    return found


def public_names(module):
    of_module = vars(importlib.import_module(module)).items()
    own = [name for name, value in of_module if getattr(value, "__module__", None) == module]
    return [name for name in own if not name.startswith("_")]


THINGS = things()
USED = sorted(THINGS.keys() - RESULTS)
WITH_METHODS = sorted(n for n, (thing, shown) in THINGS.items() if shown and inspect.isclass(thing))


def text_of(name):
    return inspect.getdoc(THINGS[name][0]) or ""


def section_of(text, *headings):
    section = rf"^(?:{'|'.join(headings)}):\n((?: {{4}}.*\n|\n)+)"
    return "".join(re.findall(section, text + "\n", re.M))


def entries(text, *headings):
    """Name -> description, of what these sections list."""
    lines = section_of(text, *headings)
    found = re.findall(r"^ {4}(\**\w+): (.*\n(?: {8}.*\n)*)", lines, re.M)
    return {name: " ".join(words.split()) for name, words in found}


def arguments_of(function):
    """The arguments, as docstrings name them, with their parameters."""
    stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    parameters = inspect.signature(function).parameters
    return {
        stars.get(parameter.kind, "") + name: parameter
        for name, parameter in parameters.items()
        if name not in ("self", "cls")
    }


def returned_by(function):
    return str(inspect.signature(function).return_annotation)


def fields_of(result):
    """Field -> annotation; of a class that is no dataclass, what the constructor sets."""
    found = {}
    for base in reversed(result.__mro__):
        found |= vars(base).get("__annotations__", {})
    own = found or dict.fromkeys(re.findall(r"self\.([a-z]\w+) = ", inspect.getsource(result)))
    return {name: annotation for name, annotation in own.items() if not name.startswith("_")}


@pytest.mark.parametrize("name", sorted(RESULTS))
def test_a_result_describes_its_fields(name):
    fields = fields_of(THINGS[name][0])
    described = entries(text_of(name), "Attributes")
    assert fields
    assert fields.keys() <= described.keys()
    arrays = [field for field, annotation in fields.items() if ARRAY.search(str(annotation))]
    assert not [field for field in arrays if not SHAPE.search(described[field])], "lack a shape"


@pytest.mark.parametrize("name", USED)
def test_every_argument_is_described(name):
    arguments = arguments_of(THINGS[name][0])
    described = entries(text_of(name), "Args", "Attributes")
    assert arguments.keys() <= described.keys()
    own = {a: p for a, p in arguments.items() if not REFERRED.search(described[a])}
    arrays = [a for a, p in own.items() if a in ARRAYS or ARRAY.search(str(p.annotation))]
    assert not [a for a in arrays if not SHAPE.search(described[a])], "lack a shape"
    optional = [a for a, p in own.items() if p.default is not p.empty]
    assert not [a for a in optional if not DEFAULT.search(described[a])], "lack a default"


@pytest.mark.parametrize("name", USED)
def test_a_name_says_what_a_user_needs(name):
    thing, _ = THINGS[name]
    text = text_of(name)
    wanted = ["Example:\n    >>> ", "(Cost|Memory): "]
    if name not in WITHOUT_ERRORS:
        wanted.append("Raises:\n    ")
    if name not in WITHOUT_SOURCE:
        wanted.append("Source: ")
    returned = returned_by(thing) if inspect.isfunction(thing) else "None"
    if returned != "None":
        wanted.append("(Returns|Yields):\n    ")
    if ARRAY.search(returned):
        assert SHAPE.search(section_of(text, "Returns")), "lacks the shape"
    assert not [word for word in wanted if not re.search(f"^{word}", text, re.M)]


@pytest.mark.parametrize("name", WITH_METHODS)
def test_methods_are_described(name):
    thing, _ = THINGS[name]
    for method, value in vars(thing).items():
        if isinstance(value, property) and not method.startswith("_"):
            check_shape(method, value.fget, [value.__doc__ or ""])
        elif callable(getattr(value, "__func__", value)) and not method.startswith("_"):
            check_method(thing, method)


def check_method(thing, method):
    """Check the arguments of a method, described there or in the method that it overrides."""
    bases = [base for base in thing.__mro__ if method in vars(base)]
    if any(base.__module__.startswith("keras.") for base in bases):
        return
    texts = [inspect.getdoc(vars(base)[method]) or "" for base in bases]
    check_shape(method, getattr(thing, method), texts)
    described = set().union(*(entries(text, "Args") for text in texts))
    assert arguments_of(getattr(thing, method)).keys() <= described, method


def check_shape(method, function, texts):
    """Check that there is a docstring, and that it says the shape of an array that is returned."""
    assert texts[0], f"{method} has no docstring"
    if ARRAY.search(returned_by(function)):
        assert SHAPE.search("".join(texts)), f"{method} lacks the shape"


def test_exceptions_are_names_of_the_reference():
    assert THINGS.keys() >= RESULTS | WITHOUT_ERRORS | WITHOUT_SOURCE
    assert not RESULTS & (WITHOUT_ERRORS | WITHOUT_SOURCE)


@pytest.mark.parametrize("name", sorted(WITHOUT_ERRORS))
def test_what_raises_nothing_raises_nothing(name):
    assert not re.search(r"^\s+raise ", inspect.getsource(THINGS[name][0]), re.M)
    assert "Raises:" not in text_of(name)


@pytest.mark.parametrize("name", sorted(WITHOUT_SOURCE))
def test_what_is_from_no_paper_names_none(name):
    assert "Source:" not in text_of(name)
