"""Metadata of the package; settings of the tools are in pyproject.toml."""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent

# TensorFlow comes as `tensorflow` or as `tensorflow-cpu`, which are different
# distributions of one module. A hard requirement on either would install a second
# copy over the first, so both are extras and the user picks one.
APPS = [
    "importlib_resources",  # tensorflow-datasets needs it to download and does not bring it
    "matplotlib>=3.8",
    "mlxtend>=0.23",
    "optuna>=4.0",
    "pandas>=2.0",
    "rich>=13.0",
    "scikit-learn>=1.3",
    "tensorboard",
    "tensorflow-datasets>=4.9.4",
]
# What the benchmarks compare with or run on; every part of them is left out where it is missing.
BENCHMARKS = ["keras-hub>=0.18", "torch>=2.2", "opacus>=1.5"]
TEST = [
    "hypothesis>=6.100",
    "ipykernel",
    "nbclient>=0.10",
    "nbformat",
    "pytest>=8.0",
    "pytest-xdist>=3.5",
]
DOCS = ["furo", "myst-nb>=1.1", "sphinx>=7.4", "sphinx-copybutton", "sphinx-mathjax-offline"]
LINT = ["mypy>=1.11", "ruff>=0.8"]

setup(
    name="tf_gradvar",
    version="0.2.0",
    description="Measure, explain and reduce the variance of gradients in Keras 3",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author="The tf_gradvar authors",
    license="Apache-2.0",
    packages=find_packages(include=["tf_gradvar*", "keras_apps*"]),
    package_data={"tf_gradvar": ["py.typed"]},
    python_requires=">=3.10",
    install_requires=["keras>=3.8", "numpy>=1.26", "rich>=13"],
    extras_require={
        "tensorflow": ["tensorflow>=2.18"],
        "tensorflow-cpu": ["tensorflow-cpu>=2.18"],
        "apps": APPS,
        "benchmarks": BENCHMARKS,
        "jax": ["jax>=0.4.34"],
        "plots": ["matplotlib>=3.8"],
        "docs": [*APPS, *DOCS],
        "test": [*APPS, *TEST],
        "dev": [*APPS, *TEST, *LINT, *DOCS],
    },
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
