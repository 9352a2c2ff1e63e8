"""The problem of each seed: its rows, labels and weights, and what seeds share."""

import numpy as np
import pytest
import torch
from sets import few_shot, images, problem

from hsac.data.variants import _parts, label_noise, long_tail
from hsac.errors import InputError
from hsac.frozen.features import pixels
from hsac.frozen.splits import problem_splits


def stored(made):
    names = ("x", "label", "split", "group", "classes")
    return {name: getattr(made, name) for name in names}


@pytest.fixture(scope="module")
def arrays():
    return stored(pixels.build(images()))


@pytest.fixture(scope="module")
def classes_apart():
    return stored(pixels.build(few_shot()))


def rows_of(arrays, x, backbone=0):
    """Find rows by their features; padding has none."""
    known = {row.tobytes(): i for i, row in enumerate(arrays["x"][backbone])}
    return [known[row.tobytes()] for row in x.float().numpy() if row.any()]


PLAIN = {"recipe": "plain", "validation": 0.25, "largest": 5}
NOISE = {"recipe": "label_noise", "kind": "symmetric_exclusive", "rate": 0.4, "validation": 0.5}


def plain(**keys):
    return problem("classification", PLAIN, **keys)


def test_one_problem_a_seed(arrays):
    made, judged = problem_splits(arrays, plain())
    assert judged is None
    assert (made.seeds, made.classes) == ((0, 1, 2), 4)
    assert made.train.x.shape == (3, 20, 16)
    assert made.train.x.dtype == made.train.weight.dtype == torch.float64
    assert made.test.x.shape == (3, 40, 16)
    for part in (made.train, made.validation, made.test):
        torch.testing.assert_close(part.weight.sum(-1), torch.ones(3, dtype=torch.float64))


def test_labels_are_those_of_rows(arrays):
    made, _ = problem_splits(arrays, plain())
    for part in (made.train, made.validation, made.test):
        for i in range(3):
            own = arrays["label"][rows_of(arrays, part.x[i])]
            np.testing.assert_array_equal(part.label[i], own)


def test_seeds_draw_other_rows(arrays):
    made, _ = problem_splits(arrays, plain())
    drawn = [rows_of(arrays, x) for x in made.train.x]
    assert drawn[0] != drawn[1] != drawn[2]
    more, _ = problem_splits(arrays, plain(seeds=5))
    torch.testing.assert_close(more.train.x[:3], made.train.x)


def test_parts_share_no_group(arrays):
    made, _ = problem_splits(arrays, plain())
    for i in range(3):
        parts = (made.train, made.validation, made.test)
        groups = [{*arrays["group"][rows_of(arrays, part.x[i])]} for part in parts]
        assert not groups[0] & groups[1]
        assert not groups[2] & (groups[0] | groups[1])


def test_test_rows_are_drawn_once(arrays):
    made, _ = problem_splits(arrays, plain(test=7))
    tested = [rows_of(arrays, x) for x in made.test.x]
    assert tested[0] == tested[1] == tested[2]
    assert len({*tested[0]}) == 7
    assert all(arrays["split"][tested[0]] == 2)


def test_seeds_take_backbones_in_turn(arrays):
    both = arrays | {"x": np.concatenate([arrays["x"], -arrays["x"]])}
    one, _ = problem_splits(arrays, plain(seeds=4))
    two, _ = problem_splits(both, plain(seeds=4))
    sign = torch.tensor([1.0, -1.0, 1.0, -1.0], dtype=torch.float64)[:, None, None]
    for part in ("train", "validation", "test"):
        torch.testing.assert_close(getattr(two, part).x, sign * getattr(one, part).x)


def test_noise_is_the_recipes(arrays):
    """Training and validation labels as the recipe gives them, test labels true."""
    made, _ = problem_splits(arrays, problem("noisy", NOISE))
    for seed in range(3):
        drawn = label_noise.build(
            arrays, kind="symmetric_exclusive", rate=0.4, validation=0.5, draw=seed
        )
        for part in ("train", "validation"):
            found = getattr(made, part).label[seed]
            np.testing.assert_array_equal(found, drawn.labels[part])
            assert (found.numpy() != arrays["label"][drawn.indices[part]]).mean() > 0.3
    own = arrays["label"][rows_of(arrays, made.test.x[0])]
    np.testing.assert_array_equal(made.test.label[0], own)


def test_a_tail_weighs_classes_alike(arrays):
    tail = {"recipe": "long_tail", "factor": 5, "carve": "subset", "validation": 0.3}
    made, _ = problem_splits(arrays, problem("long_tailed", tail))
    for seed in range(3):
        drawn = long_tail.build(arrays, factor=5, carve="subset", validation=0.3, draw=seed)
        label, weight = made.validation.label[seed], made.validation.weight[seed]
        shares = [float(weight[label == c].sum()) for c in range(4)]
        # Padding has label 0 and no weight.
        assert shares == pytest.approx([0.25] * 4)
        assert int((weight > 0).sum()) == len(drawn.indices["validation"])
    assert len(np.unique(made.train.weight[0])) <= 2  # one weight, and none of padding


def test_shorter_problems_are_padded():
    """Groups of unequal size give seeds unequal numbers of rows."""
    arrays = images()
    arrays["group"] = arrays["label"] * 40 + np.tile(np.r_[np.zeros(15), np.arange(1, 26)], 4)
    arrays = stored(pixels.build(arrays | {"group": arrays["group"].astype(int)}))
    given = {"recipe": "plain", "validation": 0.3}
    made, _ = problem_splits(arrays, problem("classification", given, seeds=6))
    weight = made.train.weight
    sizes = (weight > 0).sum(-1)
    assert len(sizes.unique()) > 1
    assert weight.shape[1] == sizes.max()
    torch.testing.assert_close(weight.sum(-1), torch.ones(6, dtype=torch.float64))
    assert not made.train.x[weight == 0].any()


EPISODES = {"recipe": "episodes", "way": 3, "shot": 2, "query": 4, "validation": 2, "test": 3}


def test_one_problem_an_episode(classes_apart):
    chosen, judged = problem_splits(classes_apart, problem("few_shot", EPISODES))
    assert chosen.seeds == (0, 0, 1, 1, 2, 2)
    assert judged.seeds == (0, 0, 0, 1, 1, 1, 2, 2, 2)
    for made, part in ((chosen, 1), (judged, 2)):
        assert made.classes == 3
        assert made.train.x.shape[1:] == (6, 16)
        assert made.validation is made.test
        assert made.test.label[0].tolist() == [0] * 4 + [1] * 4 + [2] * 4
        for i in range(len(made.seeds)):
            support = rows_of(classes_apart, made.train.x[i])
            query = rows_of(classes_apart, made.test.x[i])
            assert not {*support} & {*query}
            assert {*classes_apart["split"][support + query]} == {part}
            names = classes_apart["label"][support].reshape(3, 2)
            assert (names == names[:, :1]).all()
            assert classes_apart["label"][query].tolist() == np.repeat(names[:, 0], 4).tolist()


def test_what_cannot_be_cut_is_told(arrays):
    with pytest.raises(InputError, match="way"):
        problem_splits(arrays, problem("few_shot", EPISODES | {"way": 30}))


def test_overlapping_parts_are_refused(arrays, monkeypatch):
    """Whatever a recipe does, no test row is trained on."""
    same = {part: np.arange(4) for part in ("train", "validation", "test")}
    content = _parts.VariantContent("", {}, same)
    monkeypatch.setattr("hsac.data.variants.plain.build", lambda arrays, *, draw=0: content)
    with pytest.raises(InputError, match="must not overlap"):
        problem_splits(arrays, problem("classification", {"recipe": "plain"}))
