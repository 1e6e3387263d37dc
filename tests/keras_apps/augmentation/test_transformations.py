"""Each transformation is what a plain loop does with the same draws, and draws what it says."""

import numpy as np
import pytest
import tensorflow as tf

from keras_apps.augmentation import cropping, flipping, mixing
from keras_apps.augmentation.draws import Purpose, seed_of_batch

GENERATOR = np.random.default_rng(0)
# As many images as rows, columns or channels would hide a wrong axis; none of the others agree.
B = H = 4
W, CHANNELS = 5, 3
IMAGES = GENERATOR.normal(size=(B, H, W, CHANNELS)).astype("float32")
SEED = tf.constant([7, 3], tf.int64)
MANY = 20_000


def test_crops_of_padded_images():
    offsets, black = np.array([[0, 0], [4, 4], [1, 3], [2, 2]], "int32"), (-1.0, -2.0, -3.0)
    found = cropping.pad_and_crop(tf.constant(IMAGES), tf.constant(offsets), 2, black)
    assert found.shape == IMAGES.shape
    for i, (top, left) in enumerate(offsets):
        for row in range(H):
            for column in range(W):
                y, x = top + row - 2, left + column - 2
                inside = 0 <= y < H and 0 <= x < W
                np.testing.assert_array_equal(
                    found[i, row, column], IMAGES[i, y, x] if inside else black
                )


def test_offsets_are_uniform():
    drawn = cropping.draw_offsets(SEED, MANY, 2).numpy()
    for axis in range(2):
        shares = np.bincount(drawn[:, axis]) / MANY
        np.testing.assert_allclose(shares, [0.2] * 5, atol=0.015)
    assert abs(np.corrcoef(drawn.T)[0, 1]) < 0.03


def test_boxes_have_inceptions_areas_and_aspects():
    top, left, bottom, right = cropping.draw_boxes(SEED, MANY).numpy().T.astype("float64")
    height, width = bottom - top, right - left
    assert min(top.min(), left.min()) >= 0
    assert max(bottom.max(), right.max()) <= 1 + 1e-6
    whole = (height < 1 - 1e-6) & (width < 1 - 1e-6)  # where no side was cut
    area, aspect = height * width, width / height
    assert 0.08 - 1e-6 <= area[whole].min() < 0.09
    assert aspect[whole].min() == pytest.approx(3 / 4, abs=0.01)
    assert aspect[whole].max() == pytest.approx(4 / 3, abs=0.01)
    assert np.median(area) == pytest.approx(0.54, abs=0.02)
    assert np.median(aspect) == pytest.approx(1, abs=0.02)


def bilinear(image, y, x):
    y0, x0 = min(int(y), H - 2), min(int(x), W - 2)
    v, u = y - y0, x - x0
    above = (1 - u) * image[y0, x0] + u * image[y0, x0 + 1]
    below = (1 - u) * image[y0 + 1, x0] + u * image[y0 + 1, x0 + 1]
    return (1 - v) * above + v * below


def test_boxes_are_resized_bilinearly():
    boxes = np.array([[0, 0, 1, 1], [0.2, 0.1, 0.7, 0.9], [0.5, 0, 1, 0.3], [0, 0.6, 0.4, 1]])
    found = cropping.crop_and_resize(tf.constant(IMAGES), tf.constant(boxes, tf.float32))
    assert found.shape == IMAGES.shape
    for i, (top, left, bottom, right) in enumerate(boxes):
        for row, y in enumerate(np.linspace(top, bottom, H) * (H - 1)):
            for column, x in enumerate(np.linspace(left, right, W) * (W - 1)):
                expected = bilinear(IMAGES[i].astype("float64"), y, x)
                np.testing.assert_allclose(found[i, row, column], expected, atol=1e-5)


def test_flips():
    which = np.array([True, False, True, False])
    found = flipping.flip(tf.constant(IMAGES), tf.constant(which)).numpy()
    for i, flipped in enumerate(which):
        for column in range(W):
            source = W - 1 - column if flipped else column
            np.testing.assert_array_equal(found[i, :, column], IMAGES[i, :, source])
    assert flipping.draw_flips(SEED, MANY).numpy().mean() == pytest.approx(0.5, abs=0.015)


def test_mixing_is_inside_of_the_group():
    weights = GENERATOR.random(size=(2, H, W, 1)).astype("float32")
    partners = np.array([1, 0, 3, 2])
    found = mixing.mix(tf.constant(IMAGES), tf.constant(partners), tf.constant(weights)).numpy()
    for i in range(B):
        own = weights[i // 2].astype("float64")
        expected = own * IMAGES[i] + (1 - own) * IMAGES[partners[i]]
        np.testing.assert_allclose(found[i], expected, atol=1e-6)
    drawn = mixing.draw_partners(SEED, 500, 3).numpy().reshape(500, 3)
    np.testing.assert_array_equal(np.sort(drawn, axis=1).reshape(-1), np.arange(1500))
    places = drawn - 3 * np.arange(500)[:, None]
    np.testing.assert_allclose((places == np.arange(3)).mean(axis=0), [1 / 3] * 3, atol=0.07)


@pytest.mark.parametrize("alpha", [0.05, 0.2, 1.0])
def test_ratios_are_of_the_beta_distribution(alpha):
    ratios = mixing.draw_ratios(SEED, MANY, alpha).numpy().astype("float64")
    assert np.isfinite(ratios).all()
    assert ratios.mean() == pytest.approx(0.5, abs=0.015)
    assert ratios.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.03)


def test_the_box_of_cutmix():
    ratios = np.array([0.75, 0.0, 1.0, 0.5], "float32")
    centres = np.array([[0.5, 0.5], [0.5, 0.5], [0.2, 0.9], [0.0, 0.99]], "float32")
    outside = mixing.weights_outside(tf.constant(ratios), tf.constant(centres), 8, 12).numpy()
    assert outside.shape == (4, 8, 12, 1)
    for weights, ratio, centre in zip(outside[..., 0], ratios, centres, strict=True):
        half = [int(length * np.sqrt(1 - ratio)) // 2 for length in (8, 12)]
        y, x = (int(share * length) for share, length in zip(centre, (8, 12), strict=True))
        expected = np.ones((8, 12))
        expected[max(y - half[0], 0) : y + half[0], max(x - half[1], 0) : x + half[1]] = 0
        np.testing.assert_array_equal(weights, expected)
    np.testing.assert_allclose(outside.mean(axis=(1, 2, 3))[:3], ratios[:3])
    drawn = mixing.draw_centres(SEED, MANY).numpy()
    np.testing.assert_allclose(drawn.mean(axis=0), 0.5, atol=0.01)


def test_seeds_depend_on_the_run_the_purpose_and_the_batch():
    seeds = {
        tuple(seed_of_batch(seed, purpose, tf.constant(number, tf.int64)).numpy())
        for seed in (0, 1, 2**62)
        for purpose in Purpose
        for number in range(5)
    }
    assert len(seeds) == 3 * len(Purpose) * 5
