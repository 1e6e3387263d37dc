"""Members of gradient clusters: nearest, most noisy, classes; from real gradients, too."""

import json

import keras
import numpy as np

from keras_apps.experiments.classification import Classification
from keras_apps.running.cluster_members import members_of_clusters, read_members, write_members
from tests.oracles import per_example_oracle as oracle


def test_by_a_plain_loop():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(40, 5))
    assignments, labels = np.arange(40) % 3, rng.integers(0, 4, 40)
    found = members_of_clusters(vectors, assignments, labels)
    assert [own["cluster"] for own in found] == [0, 1, 2]
    for own in found:
        rows = [i for i in range(40) if i % 3 == own["cluster"]]
        centre = sum(vectors[i] for i in rows) / len(rows)
        distance = {i: float(sum((vectors[i] - centre) ** 2)) for i in rows}
        ordered = sorted(rows, key=distance.get)
        assert own["size"] == len(rows)
        assert own["nearest"] == ordered[:6]
        assert own["noisiest"] == ordered[::-1][:6]
        np.testing.assert_allclose(own["noise"], sum(distance.values()) / len(rows))
        assert own["classes"] == [
            sum(labels[i] == k for i in rows) for k in range(max(labels[i] for i in rows) + 1)
        ]


def test_empty_clusters_are_left_out():
    found = members_of_clusters(np.zeros((3, 2)), np.array([0, 2, 2]), np.zeros(3, int))
    assert [(own["cluster"], own["size"]) for own in found] == [(0, 1), (2, 2)]


def test_sketches_stand_for_the_gradients(tmp_path):
    problem = Classification(
        "digits", model_arguments={"hidden_units": [4]}, training_examples=60
    ).build()
    keras.utils.set_random_seed(0)
    model = problem.build_model()
    assignments = problem.y % 2
    path = tmp_path / "clusters.json"
    assert read_members(path) == []
    write_members(path, model, problem, problem.x, problem.y, assignments)
    found = read_members(path)
    assert json.loads(path.read_text()) == found
    rows = oracle.loop_gradients(model, problem.x, problem.y, problem.loss)
    gradients = np.concatenate([np.reshape(row, (60, -1)) for row in rows], axis=1)
    for own in found:
        mine = gradients[assignments == own["cluster"]]
        exact = np.square(mine - mine.mean(axis=0)).sum(axis=1).mean()
        np.testing.assert_allclose(own["noise"], exact, rtol=0.35)
        assert own["size"] == len(mine) == sum(own["classes"])
