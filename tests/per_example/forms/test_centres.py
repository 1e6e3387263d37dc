"""Inner products with centres against the explicit gradients, for every problem."""

import numpy as np
import pytest
import tensorflow as tf

from tests.per_example.conftest import solve
from tests.problems import EXAMPLES, PROBLEMS
from tf_gradvar.per_example import (
    Factors,
    Recorder,
    factor_products,
    form_products,
    full_products,
    mean_factors,
    weighted_sums,
)
from tf_gradvar.per_example.forms.patches import Patches

CLUSTERS = 3


def forms_of(solved, x=None, y=None):
    x, y = (solved.x, solved.y) if x is None else (x, y)
    recorder = Recorder(solved.model, solved.loss, loss_weights=solved.options["loss_weights"])
    return recorder.forms(x, y, solved.options.get("sample_weight"))[0]


def close(actual, expected):
    # The bias of attention's keys has no gradient but rounding.
    atol = max(1e-5 * np.abs(expected).max(), 1e-12)
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=atol)


def test_products_with_sums_and_with_each_other(solved):
    """<g_i, sum_j w_jk g_j> = sum_j w_jk <g_i, g_j>, variable by variable."""
    weights = np.random.default_rng(0).uniform(size=(EXAMPLES, CLUSTERS)).astype("float32")
    for form, gradients in zip(forms_of(solved), solved.gradients, strict=True):
        flat = gradients.reshape(EXAMPLES, -1)
        gram = flat @ flat.T
        close(form_products(form, form), gram)
        sums = weighted_sums(form, tf.constant(weights))
        assert sums.shape.rank == 3
        close(full_products(form, tf.reshape(sums, [CLUSTERS, -1])), gram @ weights)


def test_centres_of_low_rank(solved):
    """The closed form and the product with the full centres agree."""
    rng = np.random.default_rng(1)
    for form in forms_of(solved):
        sums = weighted_sums(form, tf.ones([EXAMPLES, 1]))
        rows, columns = sums.shape[1:]
        left, right = (
            tf.constant(rng.normal(size=(CLUSTERS, n, 2)), tf.float32) for n in (rows, columns)
        )
        factors = Factors(left, right)
        expected = np.einsum("kir,kor->kio", left, right).reshape(CLUSTERS, -1)
        close(factors.full(), expected)
        close(factors.squared_norms(), np.square(expected).sum(axis=1))
        close(factor_products(form, factors), full_products(form, tf.constant(expected)))


def test_mean_factors(solved):
    """Mean input over the positions, and sum of the output gradients, whose sum is the bias's."""
    forms = forms_of(solved)
    for form in forms:
        factors = mean_factors(form)
        if factors is None:
            continue
        a, d = factors
        sums = weighted_sums(form, tf.eye(EXAMPLES))
        assert (a.shape[1], d.shape[1]) == tuple(sums.shape[1:])
        positions = form.inputs.shape[2] if not isinstance(form, Patches) else None
        if positions == 1:
            # One position: the product is the gradient itself.
            close(tf.einsum("bi,bo->bio", a, d), sums)


def test_mean_factors_of_a_convolution():
    """Patches by hand, from the definition of a convolution."""
    solved = solve(next(p for p in PROBLEMS if p.name == "conv_2d"))
    form = next(f for f in forms_of(solved) if isinstance(f, Patches) and f.geometry.groups == 1)
    a, d = mean_factors(form)
    x, gradients = np.asarray(form.inputs), np.asarray(form.output_gradients)
    np.testing.assert_allclose(d, gradients.sum(axis=(1, 2)), rtol=1e-5, atol=1e-6)
    geometry = form.geometry
    rows, columns = geometry.kernel_size
    outputs = gradients.shape[1:3]
    padded = []
    for axis in (0, 1):
        reach = (outputs[axis] - 1) * geometry.strides[axis] + 1
        reach += (geometry.kernel_size[axis] - 1) * geometry.dilation[axis]
        missing = max(reach - x.shape[1 + axis], 0)
        before = missing // 2 if geometry.padding == "same" else 0
        padded.append((before, missing - before))
    x = np.pad(x, [(0, 0), *padded, (0, 0)])
    places = [
        np.mean(
            [
                x[:, u * geometry.strides[0] + i * geometry.dilation[0],
                  v * geometry.strides[1] + j * geometry.dilation[1]]
                for u in range(outputs[0])
                for v in range(outputs[1])
            ],
            axis=0,
        )
        for i in range(rows)
        for j in range(columns)
    ]  # fmt: skip
    np.testing.assert_allclose(a, np.concatenate(places, axis=1), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_in_a_graph(jit_compile):
    solved = solve(next(p for p in PROBLEMS if p.name == "conv_2d"))

    @tf.function(jit_compile=jit_compile, autograph=False)
    def products():
        forms = forms_of(solved)
        return [full_products(f, tf.reshape(weighted_sums(f, tf.eye(EXAMPLES)), [EXAMPLES, -1]))
                for f in forms]  # fmt: skip

    for found, gradients in zip(products(), solved.gradients, strict=True):
        flat = gradients.reshape(EXAMPLES, -1)
        close(found, flat @ flat.T)


@pytest.mark.parametrize("name", ["mlp", "masked_text", "long_sequence", "conv_1d", "lora"])
def test_a_batch_of_unknown_size(name):
    solved = solve(next(p for p in PROBLEMS if p.name == name))

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, *array.shape[1:]], array.dtype) for array in (solved.x, solved.y)
        ],
        autograph=False,
    )
    def products(x, y):
        forms = forms_of(solved, x, y)
        return [
            (form_products(form, form), weighted_sums(form, tf.ones([tf.shape(x)[0], 1])))
            for form in forms
        ]

    for (gram, sums), gradients in zip(products(solved.x, solved.y), solved.gradients, strict=True):
        flat = gradients.reshape(EXAMPLES, -1)
        close(gram, flat @ flat.T)
        close(np.sum(np.square(sums)), np.sum(np.square(flat.sum(0))))
