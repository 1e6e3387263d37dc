"""What is said of groups and examples, and the examples as pictures."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tests.diagnosis.test_page import PIXELS, report_of
from tf_gradvar.data.examples import as_examples
from tf_gradvar.diagnosis import who_words
from tf_gradvar.diagnosis.images import pictures_of, png
from tf_gradvar.diagnosis.input_rows import SHOWN, input_rows
from tf_gradvar.diagnosis.who_page import examples_to_show

WHO = report_of().who


def group(**changes):
    found = dataclasses.replace(WHO.by_class, **changes)
    who = dataclasses.replace(WHO, adjusted_p_values={"class": changes.get("p_value", 0.001)})
    return who_words.group_sentence(found, who, "class")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"share": 0.3, "p_value": 0.001}, "30\xa0% ±"),
        ({"share": 0.002, "p_value": 0.001}, "too little to draw batches by it"),
        ({"share": 0.002, "p_value": 0.4}, "that chance could not explain"),
        ({"share": -0.01, "p_value": 0.001}, "that chance could not explain"),
    ],
)
def test_groups(changes, words):
    assert words in group(**changes)


def test_the_noisiest_group_is_named():
    row = dataclasses.replace(
        WHO.by_class.rows[0], group="left", relative_noise=3.0, typical_rank=1.4, p_value=0.002
    )
    quiet = dataclasses.replace(row, group="right", typical_rank=0.7)
    said = group(rows=(row, quiet))
    assert "The noisiest group is 'left'" in said
    assert "The quietest group is 'right'" in said
    assert "quietest" not in group(rows=(row,))
    assert "noisiest" not in group(rows=(quiet,))
    assert "group is" not in group(rows=(dataclasses.replace(row, p_value=0.5),))


def test_single_examples():
    held = dataclasses.replace(WHO.concentration, largest_share=0.4, idle_part=0.6)
    who = dataclasses.replace(WHO, concentration=held)
    assert "A few examples rule the steps" in who_words.norm_sentence(who)
    assert "Visiting them less often" in who_words.idle_sentence(who)
    suspects = dataclasses.replace(WHO.wrong_labels, candidates=np.array([], int))
    nobody = dataclasses.replace(WHO, wrong_labels=suspects)
    assert "No label stands out as wrong at these weights." in who_words.label_sentence(nobody)
    assert who_words.label_sentence(dataclasses.replace(WHO, wrong_labels=None)) is None
    some = dataclasses.replace(suspects, candidates=np.arange(7), candidate_part=0.1)
    said = who_words.label_sentence(dataclasses.replace(WHO, wrong_labels=some))
    assert said.startswith("7 labels (10\xa0% of those looked at) may be wrong")
    copies = dataclasses.replace(WHO.duplicates, num_groups=2, spare=3, spare_part=0.3)
    assert "weigh double" in who_words.duplicate_sentence(
        dataclasses.replace(WHO, duplicates=copies)
    )
    none = dataclasses.replace(copies, num_groups=0)
    assert "No two examples" in who_words.duplicate_sentence(
        dataclasses.replace(WHO, duplicates=none)
    )
    assert len(who_words.who_sentences(WHO)) >= 6


def test_examples_to_show_are_the_largest():
    shown = examples_to_show(WHO)["largest gradients"]
    assert len(shown) == 12
    assert shown[0] == WHO.scores["index"][np.argmax(WHO.scores["norm"])]


def test_pictures_are_the_pixels():
    np.testing.assert_array_equal(tf.io.decode_png(png(PIXELS)), PIXELS)
    grey = PIXELS[..., :1]
    np.testing.assert_array_equal(tf.io.decode_png(png(grey)), grey)


def test_examples_as_pictures():
    rng = np.random.default_rng(0)
    images = rng.normal(size=(5, 8, 6))
    found = pictures_of(as_examples(images, np.zeros(5), None), [3, 1, 3])
    assert sorted(found) == [1, 3]
    pixels = np.asarray(tf.io.decode_png(found[3]))[..., 0]
    scaled = 255 * (images[3] - images[3].min()) / np.ptp(images[3])
    np.testing.assert_allclose(pixels, scaled, atol=0.51)
    rows = as_examples(rng.normal(size=(5, 8)), np.zeros(5), None)
    assert pictures_of(rows, [1]) == {}
    assert pictures_of(rows, []) == {}
    many = as_examples(rng.normal(size=(5, 8, 8, 4)), np.zeros(5), None)
    assert pictures_of(many, [0]) == {}


def test_inputs_of_tables_are_shown_as_rows():
    table = np.arange(40.0).reshape(4, 10)
    found = input_rows(as_examples(table, np.zeros(4), None), [2, 0, 2])
    assert found == {0: tuple(range(SHOWN)), 2: tuple(20.0 + i for i in range(SHOWN))}
    few = input_rows(as_examples(table[:, :2], np.zeros(4), None), [3])
    assert few == {3: (30.0, 31.0)}


def test_inputs_that_are_no_rows_of_numbers():
    images = as_examples(np.zeros((4, 8, 8)), np.zeros(4), None)
    assert input_rows(images, [1]) == {}
    assert input_rows(images, []) == {}
    words = as_examples(np.array([["a"], ["b"]]), np.zeros(2), None)
    assert input_rows(words, [0]) == {}
