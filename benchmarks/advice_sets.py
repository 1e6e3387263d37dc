"""Data and networks for the check of advice: digits, clothes, two tables and text."""

from __future__ import annotations

import ast
import collections
import re
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path

import keras
import numpy as np

from keras_apps import sources
from keras_apps.models import mlp

Data = tuple[np.ndarray, np.ndarray]
# Packages of Python's standard library whose docstrings are told apart.
PACKAGES = ("asyncio", "email", "tkinter", "unittest", "multiprocessing")
WORDS, LENGTH = 800, 24


def images(name: str, count: int) -> Callable[[], Data]:
    """Return a function that loads at most so many images and their labels."""

    def load() -> Data:
        source = sources.load(name)
        return source.x_train[:count], source.y_train[:count]

    return load


def table(name: str) -> Callable[[], Data]:
    """Return a function that loads a table of scikit-learn, columns standardized."""

    def load() -> Data:
        from sklearn import datasets

        data = getattr(datasets, f"load_{name}")()
        x = (data.data - data.data.mean(axis=0)) / data.data.std(axis=0)
        return x.astype("float32"), data.target.astype("int32")

    return load


def text() -> Data:
    """Return the first words of docstrings of the standard library, and their packages.

    Words are the most frequent ones from 2, 1 stands for all others, 0 for none.
    """
    found = [(doc, k) for k, package in enumerate(PACKAGES) for doc in docstrings(package)]
    split = [re.findall("[a-z]+", doc.lower())[:LENGTH] for doc, _ in found]
    frequent = collections.Counter(word for words in split for word in words)
    number = {word: i for i, (word, _) in enumerate(frequent.most_common(WORDS - 2), start=2)}
    x = np.zeros((len(split), LENGTH), "int32")
    for row, words in zip(x, split, strict=True):
        row[: len(words)] = [number.get(word, 1) for word in words]
    return x, np.array([k for _, k in found], "int32")


def docstrings(package: str) -> Iterator[str]:
    """Yield the docstrings of a package's functions and classes, in the order of the files."""
    folder = Path(sysconfig.get_paths()["stdlib"]) / package
    for path in sorted(folder.rglob("*.py")):
        if "test" in path.relative_to(folder).parts:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                doc = ast.get_docstring(node)
                if doc:
                    yield doc


SETS: dict[str, Callable[[], Data]] = {
    "digits": images("digits", 1438),
    "mnist5k": images("mnist5k", 4000),
    "fashion_mnist": images("fashion_mnist", 10_000),
    "breast_cancer": table("breast_cancer"),
    "wine": table("wine"),
    "docstrings": text,
}


def make_model(x: np.ndarray, y: np.ndarray) -> keras.Model:
    """Return a network with one hidden layer; of words, over the mean of their vectors."""
    classes = int(y.max()) + 1
    if x.dtype.kind == "f":
        return mlp(x.shape[1:], classes, (128,) if x.ndim > 2 else (32,))
    layers = [
        keras.layers.Embedding(WORDS, 32),
        keras.layers.GlobalAveragePooling1D(),
        keras.layers.Dense(32, "relu"),
        keras.layers.Dense(classes),
    ]
    return keras.Sequential([keras.Input(x.shape[1:], dtype="int32"), *layers])
