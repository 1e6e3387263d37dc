"""A step that XLA compiles works on rows of the buffers and makes no other tensor of their size."""

import re

import keras
import numpy as np
import pytest

from tf_gradvar.optimizers import Discover

pytestmark = [
    pytest.mark.jax,
    pytest.mark.skipif(keras.backend.backend() == "torch", reason="needs XLA"),
]
K = 16
SHAPES = [(40, 30), (7,)]


def compiled_step(num_groups, **kwargs):
    """The text of the program that XLA makes of a correction and a step."""
    weights = [keras.Variable(np.zeros(shape, "float32")) for shape in SHAPES]
    optimizer = Discover(0.1, K, **kwargs)
    optimizer.build(weights)
    rows = [np.ones((num_groups, *shape), "float32") for shape in SHAPES]
    clusters = np.arange(num_groups, dtype="int32")

    def take(rows, clusters):
        optimizer.apply(optimizer.correct_gradients(rows, clusters))

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        step = tf.function(take, jit_compile=True, autograph=False)
        arguments = [tf.constant(row) for row in rows], tf.constant(clusters)
        return step.experimental_get_compiler_ir(*arguments)(stage="optimized_hlo")
    import jax

    variables = [*optimizer.variables, *weights]

    def pure(state, *arguments):  # Keras' trainer donates the state, too
        with keras.StatelessScope(list(zip(variables, state, strict=True))) as scope:
            take(*arguments)
        return [scope.get_current_value(variable) for variable in variables]

    step = jax.jit(pure, donate_argnums=0)
    return step.lower([v.value for v in variables], rows, clusters).compile().as_text()


def results_of_size(program, shape):
    """The (dtype, operation) of what is made in this shape, outside of fused loops."""
    dimensions = ",".join(map(str, shape))
    pattern = re.compile(rf" = (\w+)\[{dimensions}\](?:\{{[^}}]*\}})? ([a-z][\w-]*)\(")
    found, fused = [], False
    for line in program.splitlines():
        if line.endswith("{"):  # the head of a computation
            fused = line.startswith(("%fused", "%wrapped"))
        elif not fused:
            found += pattern.findall(line)
    return [(dtype, op) for dtype, op in found if op not in ("parameter", "get-tuple-element")]


def test_results_are_found():
    program = """
%fused_computation.1 (p: f32[16,7]) -> f32[16,7] {
  ROOT %d = f32[16,7]{1,0} dynamic-update-slice(%p, %r, %i)
}

%region_0.4 (p: f32[16,7]) -> f32[16,7] {
  %copy.3 = f32[16,7]{1,0} copy(%p)
}

ENTRY %main (p: f32[16,7]) -> f32[16,7] {
  %p = f32[16,7]{1,0} parameter(0)
  %c = bf16[16,7]{1,0} convert(%p), metadata={op_name="x"}
  ROOT %f = f32[16,7]{1,0} fusion(%p, %c), calls=%fused_computation.1
}
"""
    assert results_of_size(program, (16, 7)) == [
        ("f32", "copy"),
        ("bf16", "convert"),
        ("f32", "fusion"),
    ]


@pytest.mark.parametrize(("num_groups", "scale"), [(1, 1.0), (1, 0.5), (2, 1.0), (8, 1.0)])
@pytest.mark.parametrize("buffer_dtype", ["float32", "bfloat16"])
def test_no_copy_of_all_buffers(num_groups, buffer_dtype, scale):
    program = compiled_step(num_groups, buffer_dtype=buffer_dtype, scale=scale)
    short = {"float32": "f32", "bfloat16": "bf16"}[buffer_dtype]
    for shape in SHAPES:
        made = results_of_size(program, (K, *shape))
        assert all(dtype == short and op != "copy" for dtype, op in made), made
        assert len(made) <= num_groups, "each row is written at most once"
