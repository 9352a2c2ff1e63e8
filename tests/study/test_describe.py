"""What is generated from the models is current, and the schema says what the models say."""

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from hsac.study import describe, load

CONFIG = Path(__file__).parents[2] / "config"
SCHEMA = json.loads((CONFIG / "schema.json").read_text())


def test_key_tables_are_current():
    text = (CONFIG / "README.md").read_text()
    assert describe.described(text) == text
    assert text.count("<!-- keys: ") == len(describe.TABLES)


def test_schema_is_current():
    assert (CONFIG / "schema.json").read_text() == describe.schema()


@pytest.mark.parametrize("scale", load.SCALES)
def test_editors_accept_shipped_scales(scale):
    text = load.scale_file(scale, CONFIG).read_text()
    assert text.startswith("# yaml-language-server: $schema=schema.json\n")
    jsonschema.validate(yaml.safe_load(text), SCHEMA)


@pytest.mark.parametrize(
    "keys",
    [
        {"seed": [0]},
        {"seeds": [-1]},
        {"bundle": 0},
        {"experiments": {}},
        {"device": "gpu"},
        {"search": {"points": 1.5}},
    ],
)
def test_editors_refuse_what_is_refused(keys):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(keys, SCHEMA)


def test_every_key_is_described():
    keys = [key for model in describe.TABLES.values() for key, _ in describe.rows(model)]
    words = [words for model in describe.TABLES.values() for _, words in describe.rows(model)]
    assert len(keys) > 40
    assert all(words)
