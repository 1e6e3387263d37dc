"""Imports go downwards only, TensorFlow stays where it belongs, and importing is cheap."""

import ast
import functools
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = sorted(p.relative_to(ROOT) for d in ("tf_gradvar", "keras_apps")
                 for p in (ROOT / d).rglob("*.py"))  # fmt: skip

# What each part may import of the others; every part may import itself and `ANYWHERE`.
ANYWHERE = {"arguments", "assignments", "keras_internals", "moments", "ownership", "records"}
BELOW = {
    "arguments": set(),
    "assignments": set(),
    "keras_internals": set(),
    "losses": set(),
    "moments": set(),
    "ownership": set(),
    "records": set(),
    "plots": set(),
    "optimizers": set(),
    "sampling": set(),
    "data": {"sampling"},
    "per_example": {"losses"},
    "training": {"optimizers", "losses", "per_example"},
    "estimators": {"per_example", "data", "sampling", "losses"},
    "clustering": {"per_example", "data", "losses"},
    "callbacks": {
        "losses",
        "per_example",
        "data",
        "estimators",
        "clustering",
        "optimizers",
        "sampling",
        "training",
    },
    "pages": set(),
    "diagnosis": {
        "callbacks",
        "clustering",
        "data",
        "estimators",
        "losses",
        "pages",
        "per_example",
        "sampling",
    },
}
# The same for the rooms of the apps; the files beside them are the commands and may import all.
ROOMS_BELOW = {
    "models": set(),
    "sources": {"requirements"},
    "augmentation": set(),
    "experiments": {"models", "sources", "augmentation"},
    "configs": {"experiments"},
    "running": {"experiments", "configs", "requirements", "augmentation"},
    "reporting": {"experiments", "running"},
}
# The most files of a folder that import each other in a row.
LONGEST_CHAINS = {"keras_apps": 7, "tf_gradvar/per_example": 7}
WITH_TENSORFLOW = {
    "data/cluster_filters.py",
    "data/cluster_stream.py",
    "data/dataset_ids.py",
    "data/example_dataset.py",
    "data/loss_shapes.py",
    "data/strata_stream.py",
    "data/stratified_batches.py",
    "data/worker_share.py",
    "diagnosis/example_measurements.py",
    "diagnosis/examples_seen.py",
    "per_example",
    "training/checkpoints.py",
    "training/group_gradients.py",
    "training/grouping.py",
    "training/outside_groups.py",
    "training/read_on.py",
    "training/strategies.py",
    "training/tensorflow_step.py",
    "training/training_loop.py",
    "training/validation.py",
    "training/workers.py",
    "clustering",
    "estimators/measurable.py",
    "estimators/weighted_gradient.py",
    "estimators/whole.py",
    "losses/one_by_one.py",
    "optimizers/backend/tensorflow.py",
    "optimizers/backend/tensorflow_pieces.py",
    "optimizers/backend/tensorflow_rows.py",
    "sampling/cluster_choice.py",
    "sampling/shuffle.py",
    "sampling/systematic_stream.py",
}


def imports(path):
    """Every imported module in a file, as written or resolved, at any depth of the code."""
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relative to itself"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def part_of(path):
    """`optimizers` for tf_gradvar/optimizers/qhm.py, `moments` for tf_gradvar/moments.py."""
    return path.with_suffix("").parts[1]


LIBRARY = [p for p in MODULES if p.parts[0] == "tf_gradvar" and part_of(p) != "__init__"]


@pytest.mark.parametrize("path", LIBRARY, ids=str)
def test_imports_go_downwards(path):
    part = part_of(path)
    assert part in BELOW, f"say in {Path(__file__).name} what `{part}` may import"
    allowed = BELOW[part] | ANYWHERE | {part}
    for name in imports(path):
        package, _, rest = name.partition(".")
        assert package != "keras_apps", f"{path} imports an app"
        if package == "tf_gradvar" and rest:
            assert rest.split(".")[0] in allowed, f"{path} imports {name}"


@pytest.mark.parametrize("path", LIBRARY, ids=str)
def test_tensorflow_stays_where_it_belongs(path):
    inside = path.relative_to("tf_gradvar").as_posix()
    if any(inside == place or inside.startswith(f"{place}/") for place in WITH_TENSORFLOW):
        return
    assert not any(name.split(".")[0] == "tensorflow" for name in imports(path))


@pytest.mark.parametrize(
    "path", [p for p in MODULES if len(p.parts) > 2 and p.parts[0] == "keras_apps"], ids=str
)
def test_rooms_of_the_apps_import_downwards(path):
    room = path.parts[1]
    assert room in ROOMS_BELOW, f"say in {Path(__file__).name} what `{room}` may import"
    for name in imports(path):
        package, _, rest = name.partition(".")
        if package == "keras_apps" and rest:
            assert rest.split(".")[0] in ROOMS_BELOW[room] | {room}, f"{path} imports {name}"


@pytest.mark.parametrize("folder", LONGEST_CHAINS)
def test_no_longer_chain_of_imports(folder):
    paths = [path for path in MODULES if path.is_relative_to(folder)]
    names = {path.with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__"): path
             for path in paths}  # fmt: skip

    @functools.cache
    def chain(path):
        below = {names[name] for name in imports(path) if name in names} - {path}
        return [path, *max(map(chain, below), key=len, default=[])]

    longest = max(map(chain, paths), key=len)
    assert len(longest) > 1, "the imports were not found"
    assert len(longest) <= LONGEST_CHAINS[folder], " -> ".join(map(str, longest))


def test_measuring_is_entered_by_its_front_door():
    """Other rooms import what `per_example` gives, nothing from its inner rooms."""
    inner = tuple(f"tf_gradvar.per_example.{room}" for room in ("recording", "rules", "forms"))
    for path in MODULES:
        if "per_example" not in path.parts:
            assert not any(name.startswith(inner) for name in imports(path)), path


def test_tests_share_no_formula_with_the_code():
    for path in (ROOT / "tests" / "oracles").glob("*.py"):
        names = {name.split(".")[0] for name in imports(path.relative_to(ROOT))}
        assert "tf_gradvar" not in names, f"{path.name} imports what it checks"


SNIPPETS = {
    "package": "import tf_gradvar",
    "optimizers": "import tf_gradvar.optimizers",
    "by name": "from tf_gradvar import Discover, DiscoverIGT, DiscoverOver, DiscoverQHM, IGT, QHM",
    "training": "from tf_gradvar import ClusterModel, cluster_batches",
    "callbacks": "from tf_gradvar import BetweenClusterVariance, Recluster",
    "moments": "import tf_gradvar.moments, tf_gradvar.records, tf_gradvar.sampling",
}
# Keras imports TensorFlow where it is installed to tell tensors from arrays; here it is not.
TRAINING = """
sys.modules["tensorflow"] = None
import numpy as np, keras
x, y = np.eye(4, dtype="float32"), np.array([0, 0, 1, 1])
model = ClusterModel.from_model(keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]))
model.compile(Discover(0.1, 2), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
batches = cluster_batches((x, y), y, num_clusters=2, group_size=2, seed=0)
model.fit(batches, steps_per_epoch=2, verbose=0, validation_data=(x, y))
assert len(model.predict(x, verbose=0)) == 4
try:
    from tf_gradvar import stratified_batches
except ImportError as error:
    assert "needs TensorFlow, which is not installed" in str(error), error
else:
    raise AssertionError("stratified_batches without TensorFlow")
"""


def test_the_jax_backend_loads_no_tensorflow():
    """One process imports everything that must do without, and trains without."""
    check = "import sys; assert 'tensorflow' not in sys.modules, 'TensorFlow was imported'"
    code = "\n".join([*SNIPPETS.values(), check, TRAINING])
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    finished = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert finished.returncode == 0, finished.stderr


def test_public_names():
    import tf_gradvar

    for name in tf_gradvar.__all__:
        assert getattr(tf_gradvar, name) is not None
        assert name in dir(tf_gradvar)
    with pytest.raises(AttributeError, match="has no attribute 'Adam'"):
        tf_gradvar.Adam  # noqa: B018
