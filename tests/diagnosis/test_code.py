"""Lines that a report gives, where their numbers could be read otherwise."""

import ast

import pytest

from tf_gradvar.diagnosis import code
from tf_gradvar.diagnosis.remedies import GroupSteps


@pytest.mark.parametrize(
    ("rate", "written"), [(1.0, 1.0), (0.1, 0.1), (1 / 3, 0.333333), (None, 0.01)]
)
def test_a_learning_rate_is_a_float(rate, written):
    lines = code.discover("y", 3, GroupSteps(2, 4), rate)
    calls = [node for node in ast.walk(ast.parse(lines)) if isinstance(node, ast.Call)]
    discover = next(c for c in calls if getattr(c.func, "attr", "") == "Discover")
    found = ast.literal_eval(discover.args[0])
    assert (type(found), found) == (float, written)
