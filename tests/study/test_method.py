"""Names of methods taken apart."""

import pytest

from hsac.study.method import Name, plain, split


@pytest.mark.parametrize(
    ("method", "parts", "suffix"),
    [
        ("sgd+hsac", ("sgd", "hsac", "", ()), ""),
        ("sam+fixed@0.3", ("sam", "fixed", "0.3", ()), ""),
        ("sgd+fixed@0.3+ldam_drw", ("sgd", "fixed", "0.3", ("ldam_drw",)), "+ldam_drw"),
        ("sgd+hsac+gce+linear", ("sgd", "hsac", "", ("gce", "linear")), "+gce+linear"),
        ("sgd", ("sgd", "", "", ()), ""),
        ("", ("", "", "", ()), ""),
    ],
)
def test_parts(method, parts, suffix):
    assert split(method) == Name(*parts)
    assert split(method).suffix == suffix


def test_plain_methods_stand_for_the_others_where_there_are_any():
    assert plain(["sgd+hsac+focal", "sgd+hsac", "sam+hsac"]) == ["sgd+hsac", "sam+hsac"]
    assert plain(["sgd+hsac+focal", "sam+hsac+gce"]) == ["sgd+hsac+focal", "sam+hsac+gce"]
    assert plain([]) == []
