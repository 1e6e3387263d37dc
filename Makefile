# Everything in a virtual environment of this folder; needs Python 3.10+ and make.
#   make demo    train on real digits, compare the optimizers, write runs/demo/report.html
#   make test    lint, types, all tests and the notebooks
#   make test-all   the same with all of the cases that take turns, a third each day
#   make docs    the documentation, with the notebooks' outputs, in docs/_build/html
#   make pages   the documentation's pages in a headless browser, at two widths
#   make dist    wheel and sdist, tried in a fresh environment without this folder
#   make matrix  the tests on Python 3.10 to 3.13 with the oldest and newest releases: docs/matrix.md
#   make hunt    1 000 random models, and as many runs of optimizers, against plain loops
PYTHON ?= python3
# `tensorflow-cpu` is the small build for Linux on x86; elsewhere, or for a GPU, `tensorflow`.
TENSORFLOW ?= $(if $(filter Linux-x86_64,$(shell uname -sm | tr ' ' -)),tensorflow-cpu,tensorflow)

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready-$(TENSORFLOW)
export TF_CPP_MIN_LOG_LEVEL ?= 2
# Devices that JAX makes of one CPU share its threads and wait in them for each other: with as many
# threads as cores, the default, they can stop for good.
export PJRT_NPROC ?= 32

.PHONY: demo test test-all lint types pytest jax notebook docs pages dist matrix hunt clean

$(READY): setup.py
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[$(TENSORFLOW),jax,dev]'
	touch $@

demo: $(READY)
	$(BIN)/python -m keras_apps.train --config mnist5k_classes:demo --workdir runs/demo

test: lint types pytest jax docs

test-all: export CASES := all
test-all: test

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

# Three processes on two cores, of one thread each: some of the tests wait for others.
pytest jax: export OMP_NUM_THREADS := 1
pytest jax: export TF_NUM_INTRAOP_THREADS := 1

pytest: $(READY)
	$(BIN)/python -m pytest --numprocesses 3 --dist loadfile

# The optimizers know no TensorFlow: the same tests in a second process. Models train on JAX, on one
# device and on four (tests/conftest.py).
jax: $(READY)
	KERAS_BACKEND=jax $(BIN)/python -m pytest -m jax tests/optimizers tests/*/test_jax_*.py --numprocesses 3 --dist loadfile

notebook: $(READY)
	$(BIN)/python -m tests.run_notebook colab/quickstart.ipynb
	$(BIN)/python -m tests.run_notebook colab/measure_gradient_variance.ipynb
	$(BIN)/python -m tests.run_notebook colab/gradient_clustering.ipynb
	$(BIN)/python -m tests.run_notebook colab/your_own_model.ipynb 'of them wrong on purpose'
	XLA_FLAGS=--xla_force_host_platform_device_count=4 \
		$(BIN)/python -m tests.run_notebook colab/discover_tpu.ipynb 'Found 4 x cpu.'

# Of the notebooks as they have just run. A warning fails.
docs: notebook
	$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going --nitpicky --builder html docs docs/_build/html

pages: docs
	$(BIN)/python -m tests.check_pages docs/_build/html

dist: $(READY)
	rm -rf dist build/fresh
	$(BIN)/python -m pip install --quiet build
	$(BIN)/python -m build --outdir dist .
	$(PYTHON) -m venv build/fresh
	build/fresh/bin/python -m pip install --quiet --upgrade pip
	build/fresh/bin/python -m pip install --quiet "$$(ls $(CURDIR)/dist/*.whl)[apps,$(TENSORFLOW)]"
	build/fresh/bin/python tests/check_wheel.py README.md

matrix: $(READY)
	$(BIN)/python -m tests.matrix

# Prints its seed, which `make hunt HUNT_SEED=...` takes to draw the same again.
HUNT_MODELS ?= 1000
HUNT_SEED ?= $(shell od -An -N2 -tu2 /dev/urandom | tr -d ' ')
hunt: export HUNT_MODELS := $(HUNT_MODELS)
hunt: export HUNT_SEED := $(HUNT_SEED)
hunt: $(READY)
	$(BIN)/python -m pytest tests/hunt --numprocesses 2 --dist load

clean:
	rm -rf $(VENV) build dist docs/_build docs/notebooks *.egg-info .pytest_cache .ruff_cache .mypy_cache
