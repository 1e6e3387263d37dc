"""The same two networks in other libraries, each against its own plain step.

`jax`: jax.vmap(jax.grad). `torch`: torch.func.vmap(grad), BackPACK and Opacus (explicit gradients
and ghost norms) where installed.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np

PLAIN = "plain step"
SHAPES = {"mlp": (784,), "resnet8": (32, 32, 3)}
Variants = dict[str, Callable[[Any, Any], Any]]


def installed() -> list[str]:
    """The frameworks that can be imported here."""
    return [name for name in ("tensorflow", "jax", "torch") if importlib.util.find_spec(name)]


def prepare(framework: str, model: str) -> tuple[Variants, Callable[[int], tuple[Any, Any]]]:
    """Variants `(x, y) -> result` and a function batch size -> data."""
    return {"jax": _jax, "torch": _torch}[framework](model)


def numpy_data(model: str, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Random inputs (channels last) and labels."""
    rng = np.random.default_rng(batch)
    x = rng.normal(size=(batch, *SHAPES[model])).astype("float32")
    return x, rng.integers(0, 10, size=batch).astype("int32")


def _jax(model: str) -> tuple[Variants, Callable[[int], tuple[Any, Any]]]:
    import jax
    import jax.numpy as jnp

    forward = _jax_mlp if model == "mlp" else _jax_resnet8
    weights = [jnp.asarray(w) for w in _he_weights(model)]

    def loss_of_one(weights, x, y):
        return -jax.nn.log_softmax(forward(weights, x[None])[0])[y]

    def batch_loss(weights, x, y):
        logits = jax.nn.log_softmax(forward(weights, x))
        return -jnp.mean(jnp.take_along_axis(logits, y[:, None], 1))

    plain = jax.jit(jax.grad(batch_loss))

    @jax.jit
    def vmapped(weights, x, y):
        gradients = jax.vmap(jax.grad(loss_of_one), (None, 0, 0))(weights, x, y)
        return sum(jnp.sum(g.reshape(len(x), -1) ** 2, 1) for g in gradients)

    def data(batch):
        return tuple(map(jnp.asarray, numpy_data(model, batch)))

    variants = {
        PLAIN: lambda x, y: jax.block_until_ready(plain(weights, x, y)),
        "jax.vmap(grad), norms alone": lambda x, y: jax.block_until_ready(vmapped(weights, x, y)),
    }
    return variants, data


def _he_weights(model: str) -> list[np.ndarray]:
    """Kernels and biases in the layout of JAX."""
    rng = np.random.default_rng(0)
    if model == "mlp":
        shapes: list[tuple[int, ...]] = [(784, 1024), (1024, 1024), (1024, 10)]
    else:
        channels = [(3, 16), (16, 16), (16, 16), (16, 32), (32, 32), (32, 64), (64, 64)]
        shapes = [(3, 3, *pair) for pair in channels] + [(64, 10)]
    weights = []
    for shape in shapes:
        scale = np.sqrt(2 / np.prod(shape[:-1]))
        weights += [
            (scale * rng.normal(size=shape)).astype("float32"),
            np.zeros(shape[-1], "float32"),
        ]
    return weights


def _jax_mlp(weights, x):
    import jax

    for kernel, bias in zip(weights[:-2:2], weights[1:-2:2], strict=True):
        x = jax.nn.relu(x @ kernel + bias)
    return x @ weights[-2] + weights[-1]


def _jax_resnet8(weights, x):
    import jax
    import jax.numpy as jnp

    pairs = iter(zip(weights[::2], weights[1::2], strict=True))

    def convolve(x, stride=1):
        kernel, bias = next(pairs)
        layout = ("NHWC", "HWIO", "NHWC")
        strides = (stride, stride)
        return (
            jax.lax.conv_general_dilated(x, kernel, strides, "SAME", dimension_numbers=layout)
            + bias
        )

    x = jax.nn.relu(convolve(x))
    for channels, stride in ((16, 1), (32, 2), (64, 2)):
        y = convolve(jax.nn.relu(convolve(x, stride)))
        half = (channels - x.shape[-1]) // 2
        x = jnp.pad(x[:, ::stride, ::stride], [(0, 0)] * 3 + [(half, half)])
        x = jax.nn.relu(x + y)
    kernel, bias = next(pairs)
    return x.mean((1, 2)) @ kernel + bias


def _torch(model: str) -> tuple[Variants, Callable[[int], tuple[Any, Any]]]:
    import torch

    network = _torch_mlp() if model == "mlp" else _torch_resnet8()
    criterion = torch.nn.CrossEntropyLoss()
    names = [name for name, _ in network.named_parameters()]

    def plain(x, y):
        return torch.autograd.grad(criterion(network(x), y), list(network.parameters()))

    def loss_of_one(weights, x, y):
        return criterion(torch.func.functional_call(network, weights, (x[None],)), y[None])

    def vmapped(x, y):
        weights = {name: p.detach() for name, p in network.named_parameters()}
        gradients = torch.func.vmap(torch.func.grad(loss_of_one), (None, 0, 0))(weights, x, y)
        return sum(gradients[name].reshape(len(x), -1).pow(2).sum(1) for name in names)

    def data(batch):
        x, y = numpy_data(model, batch)
        x = torch.from_numpy(x)
        x = x.permute(0, 3, 1, 2).contiguous() if x.ndim == 4 else x
        return x, torch.from_numpy(y).long()

    variants: Variants = {PLAIN: plain, "torch.func.vmap(grad), norms alone": vmapped}
    if importlib.util.find_spec("backpack"):
        variants |= _backpack(model)
    if importlib.util.find_spec("opacus"):
        variants |= _opacus(model)
    return variants, data


def _torch_mlp():
    from torch import nn

    return nn.Sequential(
        nn.Linear(784, 1024), nn.ReLU(), nn.Linear(1024, 1024), nn.ReLU(), nn.Linear(1024, 10)
    )


def _torch_resnet8():
    """With modules for every operation, as BackPACK and Opacus need them."""
    from torch import nn

    class Block(nn.Module):
        def __init__(self, incoming: int, channels: int, stride: int) -> None:
            super().__init__()
            self.first = nn.Conv2d(incoming, channels, 3, stride, padding=1)
            self.second = nn.Conv2d(channels, channels, 3, padding=1)
            self.inner, self.outer = nn.ReLU(), nn.ReLU()
            self.stride, self.half = stride, (channels - incoming) // 2

        def forward(self, x):
            y = self.second(self.inner(self.first(x)))
            skip = x[:, :, :: self.stride, :: self.stride]
            skip = nn.functional.pad(skip, (0, 0, 0, 0, self.half, self.half))
            return self.outer(skip + y)

    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.ReLU(),
        Block(16, 16, 1),
        Block(16, 32, 2),
        Block(32, 64, 2),
        nn.AvgPool2d(8),
        nn.Flatten(),
        nn.Linear(64, 10),
    )


def _backpack(model: str) -> Variants:
    """First-order extensions; only for the MLP, they do not cover the shortcuts by slicing."""
    import torch
    from backpack import backpack, extend
    from backpack.extensions import BatchL2Grad, SumGradSquared

    if model != "mlp":
        return {}
    network = extend(_torch_mlp())
    criterion = extend(torch.nn.CrossEntropyLoss(reduction="sum"))

    def extended(*extensions):
        def run(x, y):
            network.zero_grad()
            with backpack(*extensions):
                criterion(network(x), y).backward()
            return [p.batch_l2 for p in network.parameters()]

        return run

    return {
        "BackPACK, gradient + norms": extended(BatchL2Grad()),
        "BackPACK, gradient + norms + second moments": extended(BatchL2Grad(), SumGradSquared()),
    }


def _opacus(model: str) -> Variants:
    """Explicit per-example gradients by hooks, and ghost norms, which form none of a Linear."""
    import torch
    from opacus import GradSampleModule

    criterion = torch.nn.CrossEntropyLoss(reduction="sum")

    def wrapped(wrapper):
        network = _torch_mlp() if model == "mlp" else _torch_resnet8()
        return wrapper(network, loss_reduction="sum")

    explicit_network = wrapped(GradSampleModule)

    def explicit(x, y):
        explicit_network.zero_grad()
        criterion(explicit_network(x), y).backward()
        samples = [p.grad_sample for p in explicit_network.parameters()]
        norms = sum(g.reshape(len(x), -1).pow(2).sum(1) for g in samples)
        for parameter in explicit_network.parameters():
            parameter.grad_sample = None
        return norms

    variants: Variants = {"Opacus GradSampleModule, gradient + norms": explicit}
    try:
        from opacus.grad_sample.grad_sample_module_fast_gradient_clipping import (
            GradSampleModuleFastGradientClipping,
        )
    except ImportError:  # before Opacus 1.5
        return variants
    ghost_network = wrapped(GradSampleModuleFastGradientClipping)

    def ghost(x, y):
        ghost_network.zero_grad()
        criterion(ghost_network(x), y).backward()
        return ghost_network.get_norm_sample() ** 2

    return {**variants, "Opacus ghost norms, gradient + norms": ghost}
