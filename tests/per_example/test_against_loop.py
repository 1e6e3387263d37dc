"""Every quantity of every problem against the loop over single examples."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.oracles import per_example_oracle as oracle
from tests.per_example.conftest import solve
from tests.problems import PROBLEMS, flattens_any_lengths
from tf_gradvar import per_example

RTOL = 1e-5
SWAPPED = ("mlp", "masked_text", "conv_2d", "shared", "two_outputs", "tied")


def close(actual, expected, rtol=RTOL):
    """Relative to each number, and to the largest of the gradient where a sum cancels."""
    largest = max(np.abs(e).max() for e in expected)
    for a, e in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a, e, rtol=rtol, atol=rtol * largest)


def by_name(name):
    """The problem, where this version of Keras has its layers."""
    found = [problem for problem in PROBLEMS if problem.name == name]
    if not found:
        pytest.skip(f"newer versions of Keras have the layers of {name}")
    return solve(found[0])


def test_statistics(solved):
    result = per_example.statistics(
        solved.model,
        solved.x,
        solved.y,
        solved.loss,
        second_moments=True,
        per_layer=True,
        **solved.options,
    )
    # The compiled convolutions of TensorFlow 2.18 round otherwise: 1.04e-5.
    rtol = 2 * RTOL if solved.problem.name == "conv_standardized" else RTOL
    np.testing.assert_allclose(
        result.squared_norms, oracle.squared_norms(solved.gradients), rtol=rtol
    )
    close(result.mean_gradient, [g.mean(0) for g in solved.gradients])
    close(result.second_moments, oracle.second_moments(solved.gradients))
    names = per_example.variable_layers(solved.model)
    for name, norms in result.layer_squared_norms.items():
        part = [g for g, layer in zip(solved.gradients, names, strict=True) if layer == name]
        np.testing.assert_allclose(norms, oracle.squared_norms(part), rtol=2 * RTOL, atol=1e-10)


def test_gradients(solved):
    gradients = per_example.gradients(
        solved.model, solved.x, solved.y, solved.loss, **solved.options
    )
    close(gradients, solved.gradients)


def test_norms_alone_in_float64(solved):
    """The closed forms, at a precision where nothing hides."""
    with oracle.float64():
        norms = per_example.squared_norms(
            solved.model64, solved.x, solved.y, solved.loss64, **solved.options
        )
    assert norms.dtype == tf.float64
    # Keras before 3.9 adds 1e-7 to the number of unmasked positions; adapters are float32.
    rtol = solved.problem.float64_rtol
    if solved.problem.name in ("masked_text", "conv_lora"):
        rtol = 1e-6
    np.testing.assert_allclose(norms, oracle.squared_norms(solved.gradients), rtol=rtol)


def test_two_weight_settings(solved):
    others = [w.astype("float32") for w in solved.others]
    arguments = (solved.model, solved.x, solved.y, solved.loss)
    products = per_example.inner_products(*arguments, others, **solved.options)
    expected = oracle.inner_products(solved.gradients, solved.other_gradients)
    scale = np.sqrt(
        oracle.squared_norms(solved.gradients) * oracle.squared_norms(solved.other_gradients)
    )
    np.testing.assert_allclose(products / scale, expected / scale, rtol=RTOL, atol=RTOL)

    differences = [g - h for g, h in zip(solved.gradients, solved.other_gradients, strict=True)]
    result = per_example.statistics(
        *arguments, other_weights=others, second_moments=True, **solved.options
    )
    np.testing.assert_allclose(
        result.squared_norms, oracle.squared_norms(differences), rtol=2 * RTOL
    )
    close(result.mean_gradient, [d.mean(0) for d in differences], rtol=2 * RTOL)
    close(result.second_moments, oracle.second_moments(differences), rtol=2 * RTOL)

    if solved.problem.name not in SWAPPED:  # which compiles once more
        return
    swapped = per_example.inner_products(
        *arguments[:3],
        solved.loss,
        [v.numpy() for v in solved.model.trainable_variables],
        weights=others,
        per_layer=True,
        **solved.options,
    )
    np.testing.assert_allclose(sum(swapped.values()), products, rtol=1e-4, atol=1e-5 * scale.max())


@pytest.mark.parametrize("name", ["mlp", "masked_text", "tied"])
def test_differences_of_nearly_equal_weights(name):
    """Squares that are 1e-8 of those of the gradients keep their digits."""
    solved = by_name(name)
    near = [v.numpy() for v in solved.model.trainable_variables]
    near = [w + 1e-4 * (other - w) for w, other in zip(near, solved.others, strict=True)]
    near = [w.astype("float32") for w in near]
    own = [v.numpy() for v in solved.model64.trainable_variables]
    for variable, value in zip(solved.model64.trainable_variables, near, strict=True):
        variable.assign(value)
    try:
        with oracle.float64():
            others = oracle.loop_gradients(
                solved.model64, solved.x, solved.y, solved.loss64, **solved.options
            )
    finally:
        for variable, value in zip(solved.model64.trainable_variables, own, strict=True):
            variable.assign(value)
    differences = [g - h for g, h in zip(solved.gradients, others, strict=True)]
    norms = per_example.squared_norms(
        solved.model, solved.x, solved.y, solved.loss, other_weights=near, **solved.options
    )
    np.testing.assert_allclose(norms, oracle.squared_norms(differences), rtol=0.02)


def test_fallback_is_named_and_can_be_refused(solved):
    def norms():
        return per_example.squared_norms(
            solved.model, solved.x, solved.y, solved.loss, on_unknown="raise", **solved.options
        )

    if not solved.problem.unknown:
        norms()
        return
    with pytest.raises(ValueError, match=r"`on_unknown` is 'raise'") as error:
        norms()
    assert any(f"({name})" in str(error.value) for name in solved.problem.unknown)


@pytest.mark.parametrize(
    "name",
    [
        "weighted",
        "masked_text",
        "conv_cropping",
        "shared",
        "two_outputs",
        "unknown",
        "lora",
        "integer_inputs",
        "tied",
    ],
)
def test_compiled_and_chunked(name):
    """In a graph of unknown batch size, two examples at a time."""
    solved = by_name(name)
    specs = keras.tree.map_structure(
        lambda array: tf.TensorSpec([None, *array.shape[1:]], array.dtype), (solved.x, solved.y)
    )
    options = dict(solved.options)
    weight = options.pop("sample_weight", None)

    @tf.function(input_signature=[*specs, tf.TensorSpec([None], "float64")])
    def compiled(x, y, sample_weight):
        return per_example.statistics(
            solved.model,
            x,
            y,
            solved.loss,
            sample_weight=None if weight is None else sample_weight,
            second_moments=True,
            chunk_size=2,
            **options,
        )

    result = compiled(solved.x, solved.y, np.ones(5) if weight is None else weight)
    np.testing.assert_allclose(
        result.squared_norms, oracle.squared_norms(solved.gradients), rtol=2 * RTOL
    )
    close(result.mean_gradient, [g.mean(0) for g in solved.gradients])
    close(result.second_moments, oracle.second_moments(solved.gradients))


@pytest.mark.parametrize(
    "name",
    [
        "masked_text",
        "long_sequence",
        "einsum",
        "layer_scale",
        "lora",
        "tied",
        "conv_1d",
        "conv_2d",
        "separable",
        "transposed",
    ],
)
def test_nothing_known_but_the_rank(name):
    """In a graph for inputs of any lengths, the features included."""
    solved = by_name(name)
    flattens = any(isinstance(layer, keras.layers.Flatten) for layer in solved.model.layers)
    if flattens and not flattens_any_lengths():
        pytest.skip("Flatten of this version of Keras must know the lengths")

    @tf.function(
        input_signature=[
            tf.TensorSpec([None] * array.ndim, array.dtype) for array in (solved.x, solved.y)
        ]
    )
    def compiled(x, y):
        return per_example.statistics(
            solved.model, x, y, solved.loss, second_moments=True, sketch_size=8, on_unknown="raise"
        )

    result = compiled(solved.x, solved.y)
    np.testing.assert_allclose(
        result.squared_norms, oracle.squared_norms(solved.gradients), rtol=2 * RTOL
    )
    close(result.second_moments, oracle.second_moments(solved.gradients))
