"""What the losses are for, on rendered characters.

Trainings are shorter than those of the default scale, and the same otherwise.
"""

import pytest
from studies import cell_of, keys_of, recipe_of

from hsac.data import build_variant, fetch, load_variant, write_variant
from hsac.ops.runner import train_seeds

SEEDS = [0, 1]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def glyphs(tmp_path_factory):
    root = tmp_path_factory.mktemp("glyphs")
    fetch("glyphs100", root)
    return root


@pytest.fixture
def last(glyphs, tmp_path):
    """The metrics at the last epoch, by seed.

    The seeds are trained with a loss on an experiment of the default scale.
    """

    def trained(experiment, epochs, loss):
        keys = keys_of("default")
        given = keys["experiments"][experiment]
        given["training"] |= {"epochs": epochs, "evaluations": 1}
        keys["rules"]["losses"].setdefault(loss, None)
        recipe = recipe_of(given)
        path = tmp_path / "variant.json"
        if not path.is_file():
            write_variant(build_variant(given["dataset"], "v", recipe, glyphs), path)
        study, cell = cell_of(keys, experiment, f"sgd+fixed@0.3+{loss}")
        records = train_seeds(study, cell, SEEDS, load_variant(path), glyphs)
        return [record["metrics"]["last"] for record, _ in records]

    return trained


def test_long_tail_losses_raise_tail(last):
    plain = last("glyphs_long_tailed", 10, "cross_entropy")
    for loss in ("balanced_softmax", "logit_adjusted_post_hoc", "ldam_drw"):
        for before, after in zip(plain, last("glyphs_long_tailed", 10, loss), strict=True):
            assert after["tail_accuracy"] > before["tail_accuracy"]
            assert after["test_balanced_accuracy"] > before["test_balanced_accuracy"]


def test_balancing_raises_tail(last):
    """In so short a training it costs more on the head, as weights reach 80 times the smallest."""
    plain = last("glyphs_long_tailed", 10, "cross_entropy")
    for loss in ("class_balanced", "crt"):
        for before, after in zip(plain, last("glyphs_long_tailed", 10, loss), strict=True):
            assert after["tail_accuracy"] > before["tail_accuracy"]


def test_early_learning_regularisation_resists_wrong_labels(last):
    plain, held = (last("glyphs_noisy", 24, loss) for loss in ("cross_entropy", "elr"))
    for before, after in zip(plain, held, strict=True):
        assert after["test_accuracy"] > before["test_accuracy"]
        assert after["memorisation"] < before["memorisation"]


def test_known_noise_can_be_corrected(last):
    """The loss is told the true rate, 0.4."""
    plain, told = (
        last("glyphs_noisy", 24, loss) for loss in ("cross_entropy", "forward_correction")
    )
    for before, after in zip(plain, told, strict=True):
        assert after["test_accuracy"] > before["test_accuracy"]
