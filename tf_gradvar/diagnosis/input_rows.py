"""Examples as rows of a table, where the inputs are a few numbers each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tf_gradvar.data.examples import Examples

# Inputs that are shown of an example, the first ones.
SHOWN = 6


def input_rows(examples: Examples, indices: Sequence[int]) -> dict[int, tuple[float, ...]]:
    """Return the first inputs of the examples with these numbers; none where they are no rows.

    Inputs are rows if they are one array `[N, D]` of numbers.
    """
    numbers = np.unique(np.asarray(indices, np.int64))
    if not len(numbers):
        return {}
    inputs = examples.select(numbers).take(numbers)[0]
    if not isinstance(inputs, np.ndarray) or inputs.ndim != 2 or inputs.dtype.kind not in "fiub":
        return {}
    return {
        int(number): tuple(float(value) for value in row[:SHOWN])
        for number, row in zip(numbers, inputs, strict=True)
    }
