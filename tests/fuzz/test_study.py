"""Arbitrary values in a configuration: a study that can be planned, or lines that say why not."""

import copy
import datetime
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from limits import quick, within
from studies import CONFIG, smoke_keys

from hsac.errors import InputError
from hsac.study import load
from hsac.study.graph import Graph

pytestmark = pytest.mark.slow
ODD = [
    *(float("nan"), float("inf"), -0.0, 5e-324, 1e308, 2**63, 10**12, 10**30, 10**4000),
    *("", " ", "x" * 10_000, "x\0", "x\ny", "\u2028", "\ud800", "a/b", "..", "{x}", "5e-4", "no"),
    *(b"x", datetime.date(2024, 1, 1), datetime.datetime(2024, 1, 1), 1j, (1, 2), {1}, object()),
    *("sgd+hsac", "sgd+fixed@nan", "grid", "best_of", "euclidean", "sam", "hnn", "episodes"),
    *({"rule": "fixed"}, {"rule": 3}, {"name": "x"}, {"low": 1, "high": 2}, {"among": ["grid"]}),
]
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.sampled_from(ODD)
)
KEYS = st.one_of(
    st.text(max_size=8), st.integers(), st.none(), st.booleans(), st.sampled_from(["x" * 999])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3)),
    max_leaves=6,
)


def shipped() -> dict[str, Any]:
    """The smoke scale with two experiments, which loads faster than all of it."""
    keys = smoke_keys()
    del keys["scale"]
    kept = ("digits", "glyphs_few_shot")
    return keys | {"experiments": {name: keys["experiments"][name] for name in kept}}


def places(value: Any, *above: str | int) -> list[tuple[str | int, ...]]:
    """Every key and every position below a value."""
    inner: Any = enumerate(value) if isinstance(value, list) else ()
    if isinstance(value, dict):
        inner = value.items()
    found = []
    for name, one in inner:
        found += [(*above, name), *places(one, *above, name)]
    return found


PLACES = places(shipped())


@st.composite
def configurations(draw: st.DrawFn) -> dict[Any, Any]:
    """The keys with a value replaced, a key added or left out, in up to two places."""
    keys: Any = shipped()
    for place in draw(st.lists(st.sampled_from(PLACES), min_size=1, max_size=2)):
        into = keys
        for name in place[:-1]:
            # The first change may have taken the second's place away.
            known = isinstance(into, dict) and name in into
            listed = isinstance(into, list) and isinstance(name, int) and name < len(into)
            into = into[name] if known or listed else {}
        change = draw(st.sampled_from(["replace", "replace", "replace", "add", "leave out"]))
        if isinstance(into, dict):
            if change == "leave out":
                into.pop(place[-1], None)
            else:
                into[place[-1] if change == "replace" else draw(KEYS)] = draw(VALUES)
        elif isinstance(into, list):
            into.insert(0, draw(VALUES))
    return keys


def check(source: str, read: Any) -> None:
    """Check that a study is read whole, or refused in lines that name the source."""
    try:
        with within():
            study = read()
    except InputError as error:
        for line in str(error).split("\n"):
            assert line.startswith(f"{source}: "), line
        return
    with within():
        assert Graph(study).jobs
        # It is hashed, written and read back as JSON.
        assert json.loads(json.dumps(study.dump(), allow_nan=False)) == study.dump()


@quick
@given(configurations())
def test_override_loads_or_is_refused(keys):
    check(load.COMMAND_LINE, lambda: load.load("smoke", keys, CONFIG))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration of the default scale, beside which files are written."""
    made = tmp_path_factory.mktemp("config")
    (made / "config.yaml").write_text((CONFIG / "config.yaml").read_text())
    return made


def dumped(keys: dict[Any, Any]) -> bytes:
    """The keys as YAML, with the tags of Python where there is no other way."""
    return yaml.dump(copy.deepcopy(keys), allow_unicode=True).encode(errors="surrogatepass")


@quick
@given(configurations().map(dumped))
def test_file_loads_or_is_refused(folder, content):
    file = folder / "junk.yaml"
    file.write_bytes(content)
    check(str(file), lambda: load.load("junk", folder=folder))


@quick
@given(st.integers(0, 2000), st.binary(max_size=6), st.integers(0, 6))
def test_damaged_file_loads_or_is_refused(folder, place, piece, cut):
    """Any bytes in the place of others."""
    content = yaml.safe_dump(shipped()).encode()
    place = place * len(content) // 2000
    file = folder / "junk.yaml"
    file.write_bytes(content[:place] + piece + content[place + cut :])
    check(str(file), lambda: load.load("junk", folder=folder))
