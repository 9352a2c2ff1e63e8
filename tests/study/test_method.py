"""Names of methods taken apart."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsac.study.method import Method, plain

SEGMENT = st.text(st.characters(blacklist_characters="+@", codec="utf-8"), min_size=1, max_size=8)


@pytest.mark.parametrize(
    ("name", "parts", "suffix"),
    [
        ("sgd+hsac", ("sgd", "hsac", "", ()), ""),
        ("sam+fixed@0.3", ("sam", "fixed", "0.3", ()), ""),
        ("sgd+fixed@0.3+ldam_drw", ("sgd", "fixed", "0.3", ("ldam_drw",)), "+ldam_drw"),
        ("sgd+hsac+gce+linear", ("sgd", "hsac", "", ("gce", "linear")), "+gce+linear"),
        ("sgd", ("sgd", "", "", ()), ""),
        ("", ("", "", "", ()), ""),
    ],
)
def test_parts(name, parts, suffix):
    assert Method.of(name) == Method(name, *parts)
    assert Method.of(name).suffix == suffix


@given(SEGMENT, SEGMENT, st.none() | SEGMENT, st.lists(SEGMENT, max_size=2))
def test_names_come_back(weight, curvature, start, further):
    """What a name is made of is what it is taken apart into."""
    ending = "" if start is None else f"@{start}"
    method = Method.of("+".join([weight, curvature + ending, *further]))
    parts = (method.weight, method.curvature, method.start, method.further)
    assert parts == (weight, curvature, start or "", tuple(further))
    assert method.complete
    assert method.names_start == (start is not None)
    assert method.with_curvature(curvature + ending) == method.name


@given(st.text(st.sampled_from("ab+@"), max_size=9))
def test_any_text_is_taken_apart(name):
    """A name that lacks a segment, or has an empty one, is not complete."""
    method = Method.of(name)
    segments = name.split("+")
    curvature = segments[1].partition("@")[0] if segments[1:] else ""
    assert method.complete == (bool(curvature) and all(segments))


def test_plain_methods_stand_for_others():
    """Where there are none, all stand for themselves."""
    assert plain(["sgd+hsac+focal", "sgd+hsac", "sam+hsac"]) == ["sgd+hsac", "sam+hsac"]
    assert plain(["sgd+hsac+focal", "sam+hsac+gce"]) == ["sgd+hsac+focal", "sam+hsac+gce"]
    assert plain([]) == []
