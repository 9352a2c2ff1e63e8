"""What the sources make: hashes, counts and the promises of their docstrings."""

import numpy as np
import pytest

from hsac.data import catalogue
from hsac.data.sources import disease, glyphs
from hsac.data.store import content_sha256, counts_of
from hsac.errors import InputError


@pytest.mark.parametrize("name", ["digits", "disease"])
def test_arrays_are_those_of_the_catalogue(name: str) -> None:
    entry = catalogue.entry(name)
    arrays, _ = entry.forms[0].make()
    assert content_sha256(arrays) == entry.sha256
    assert counts_of(entry.kind, arrays) == entry.counts


def test_content_hash_ignores_memory_order() -> None:
    """The content hash sees name, type, shape and bytes, but not the order in memory."""
    a = np.arange(6, dtype=np.int64).reshape(2, 3)
    base = content_sha256({"a": a})
    assert (
        base
        == content_sha256({"a": np.asfortranarray(a)})
        == content_sha256({"a": a.astype(">i8")})
    )
    others = [{"b": a}, {"a": a.astype(np.int32)}, {"a": a.reshape(3, 2)}, {"a": a + 1}]
    assert base not in {content_sha256(other) for other in others}


def test_infection_comes_from_the_root() -> None:
    """Disease is a tree whose infection comes from the root."""
    arrays = disease.build()
    parent, child = arrays["edge"]
    assert np.array_equal(child, np.arange(1, 1044))
    assert (parent < child).all()
    assert arrays["y"][0] == 1
    assert (arrays["y"][child] <= arrays["y"][parent]).all()
    assert 0.3 < arrays["y"].mean() < 0.5


@pytest.fixture(scope="module")
def hundred() -> dict[str, np.ndarray]:
    return glyphs.build_hundred()


def test_hundred_has_equal_classes(hundred: dict[str, np.ndarray]) -> None:
    """The hundred have the counts of the catalogue and equal classes."""
    assert counts_of("images", hundred) == catalogue.entry("glyphs100").counts
    assert set(np.bincount(hundred["label"])) == {128}
    assert len(set(hundred["classes"])) == 100


def test_hundred_splits_no_bitmap(hundred: dict[str, np.ndarray]) -> None:
    """The hundred keep the copies of a bitmap on one side of the split."""
    for column in ("split", "label"):
        pairs = np.unique(np.stack([hundred["group"], hundred[column]]), axis=1)
        assert len(np.unique(pairs[0])) == pairs.shape[1]
    assert len(np.unique(hundred["image"], axis=0)) == len(hundred["image"])


def test_few_shot_classes_have_one_part() -> None:
    """Few-shot classes belong to one part and have distinct images."""
    arrays = glyphs.build()
    assert counts_of("images", arrays) == catalogue.entry("glyphs").counts
    pairs = np.unique(np.stack([arrays["label"], arrays["split"]]), axis=1)
    assert pairs.shape[1] == len(arrays["classes"]) == len(set(arrays["classes"]))
    assert np.bincount(arrays["label"]).min() >= 12
    assert len(np.unique(arrays["image"], axis=0)) == len(arrays["image"])


def test_jitter_depends_on_its_image_alone() -> None:
    """Jitter depends on font, character and turn alone."""
    first = glyphs._jitter("DejaVuSans", 65, 0)
    assert first == glyphs._jitter("DejaVuSans", 65, 0)
    assert first not in [
        glyphs._jitter("DejaVuSans", 65, 1),
        glyphs._jitter("DejaVuSans", 66, 0),
        glyphs._jitter("cmr10", 65, 0),
    ]
    assert abs(first["angle"]) <= np.deg2rad(12)
    assert 0.85 <= first["scale"] <= 1.1


def test_upright_glyph_is_centred() -> None:
    image = glyphs._draw(glyphs._ink("DejaVuSans", ord("O"))).astype(float)
    places = np.arange(28) + 0.5
    assert abs((image.sum(0) @ places) / image.sum() - 14) < 0.5
    assert abs((image.sum(1) @ places) / image.sum() - 14) < 0.5


def test_unknown_dataset_gets_nearest_name() -> None:
    """An unknown dataset gets the nearest name."""
    with pytest.raises(
        InputError, match=r"found 'glyph'.*, glyphs, glyphs100, .*did you mean 'glyphs'"
    ):
        catalogue.entry("glyph")
