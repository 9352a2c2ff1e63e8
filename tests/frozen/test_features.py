"""Features: their scale, what they are fitted on, and each recipe against another way to it."""

import numpy as np
import pytest
from sets import features, few_shot, graph, images

from hsac.errors import InputError
from hsac.frozen.features import _content, backbone, build, pixels, principal_components
from hsac.frozen.features import propagation as propagated
from hsac.study.frozen_checks import recipes


def components(arrays, number=5):
    return principal_components.build(arrays, components=number)


def test_recipes_are_the_folders_files():
    expected = {"backbone", "pixels", "principal_components", "propagation"}
    assert set(recipes()) == expected


@pytest.mark.parametrize("made", [pixels.build(images()), components(images())])
def test_pool_is_centred_and_scaled(made):
    pool = made.x[0][made.split != 2].astype(float)
    assert made.x.dtype == np.float32
    assert np.abs(pool.mean(0)).max() < 1e-6
    assert (pool**2).sum(1).mean() == pytest.approx(pool.shape[1], rel=1e-6)


@pytest.mark.parametrize("build_one", [pixels.build, components])
def test_test_rows_change_no_other(build_one):
    """Neither the scale nor the components look at test rows."""
    arrays = images()
    tested = arrays["split"] == 2
    changed = arrays | {"image": arrays["image"].copy()}
    changed["image"][tested] = 255 - changed["image"][tested]
    one, other = build_one(arrays), build_one(changed)
    np.testing.assert_array_equal(one.x[0][~tested], other.x[0][~tested])
    assert (one.x[0][tested] != other.x[0][tested]).any()


def test_judged_classes_change_no_other():
    """Of classes that are apart only the base ones set the scale and the components."""
    arrays = few_shot()
    judged = arrays["split"] != 0
    changed = arrays | {"image": arrays["image"].copy()}
    changed["image"][judged] //= 2
    one, other = components(arrays), components(changed)
    np.testing.assert_array_equal(one.x[0][~judged], other.x[0][~judged])


def test_components_are_those_of_svd():
    arrays = images()
    inside = arrays["split"] != 2
    x = _content.flat(arrays["image"]).astype(float)
    made = _content.principal_components(x, inside, 6)
    mean = x[inside].mean(0)
    _, values, axes = np.linalg.svd(x[inside] - mean, full_matrices=False)
    np.testing.assert_allclose(np.abs(made), np.abs((x - mean) @ axes[:6].T), atol=1e-8)
    np.testing.assert_allclose((made[inside] ** 2).sum(0), values[:6] ** 2, rtol=1e-8)


def test_components_have_a_sign():
    """The same whichever way round the decomposition gives them."""
    arrays = images()
    x = _content.flat(arrays["image"]).astype(float)
    inside = arrays["split"] != 2
    made = _content.principal_components(x, inside, 4)
    mean = x[inside].mean(0)
    axes = np.linalg.lstsq(x - mean, made, rcond=None)[0]
    assert (axes[np.abs(axes).argmax(0), np.arange(4)] > 0).all()


@pytest.mark.parametrize("number", [0, -1, 2.0, True, 17])
def test_components_are_at_most_rank(number):
    arrays = images()
    arrays["image"][:, 0, 0] = 7  # fifteen of sixteen pixels are left
    for given in (number, 16):
        with pytest.raises(InputError, match="components: found"):
            components(arrays, given)
    assert components(arrays, 15).x.shape == (1, 160, 15)


def test_rank_is_told():
    arrays = images()
    arrays["image"][:, 0, :2] = 7
    with pytest.raises(InputError, match="found 15; allowed is up to 14, the rank"):
        components(arrays, 15)


def test_constant_pictures_are_refused():
    arrays = images()
    arrays["image"][:] = 3
    with pytest.raises(InputError, match="features: found a spread of 0"):
        pixels.build(arrays)


def test_key_begins_the_line():
    with pytest.raises(InputError, match=r"^frozen\.features\.f: components: found 0"):
        build(images(), features(recipe="principal_components", components=0), "frozen.features.f")


def test_backbones_are_scaled_apart():
    arrays = images()
    rows = np.arange(0, 160, 2)
    x = np.random.default_rng(0).normal(size=(2, 80, 3)).astype(np.float32)
    x[1] = 5 * x[0] + 1
    found = {"backbone/x": x, "backbone/rows": rows, "backbone/split": arrays["split"][rows]}
    made = backbone.build(arrays | found, experiment="e", method="m")
    np.testing.assert_allclose(made.x[0], made.x[1], atol=1e-5)
    np.testing.assert_array_equal(made.label, arrays["label"][rows])
    np.testing.assert_array_equal(made.group, arrays["group"][rows])


def test_propagation_is_a_dense_product():
    arrays = graph()
    a = np.eye(60)
    a[arrays["edge"][0], arrays["edge"][1]] = a[arrays["edge"][1], arrays["edge"][0]] = 1
    root = np.diag(a.sum(1) ** -0.5)
    step = root @ a @ root
    np.testing.assert_allclose(propagated._step(arrays["edge"], 60).toarray(), step, atol=1e-12)
    made = propagated.build(arrays, hops=2, components=8, test=0.5)
    inside = made.split != 2
    x = step @ step @ arrays["x"].astype(float)
    # All components are a rotation, so distances are those of the propagated features.
    x = (x - x[inside].mean(0)) / np.sqrt(((x[inside] - x[inside].mean(0)) ** 2).mean())
    distances = [((one[:, None] - one) ** 2).sum(-1) for one in (x, made.x[0].astype(float))]
    np.testing.assert_allclose(*distances, atol=1e-4)


def test_every_class_tests_alike():
    made = propagated.build(graph(), hops=1, components=4, test=0.25)
    assert [((made.split == 2) & (made.label == c)).sum() for c in range(3)] == [5, 5, 5]
    again = propagated.build(graph(), hops=3, components=2, test=0.25)
    np.testing.assert_array_equal(made.split, again.split)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"hops": -1}, "hops: found -1"),
        ({"components": 9}, "components: found 9; allowed is up to 8"),
        ({"test": 1.0}, "test: found 1.0"),
        ({"test": 0.99}, "leaves class 0 .* too few nodes"),
    ],
)
def test_propagation_refuses(given, words):
    with pytest.raises(InputError, match=words):
        propagated.build(graph(), **({"hops": 2, "components": 4, "test": 0.5} | given))


def test_propagation_refuses_images():
    with pytest.raises(InputError, match="found an image set"):
        propagated.build(images(), hops=1, components=2, test=0.5)
