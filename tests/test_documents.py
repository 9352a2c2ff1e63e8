"""What people write is read as they mean it, or refused in one line that says where."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from hsac import files
from hsac.documents import NotYaml, parse_json, parse_yaml, read_json, read_text, read_yaml
from hsac.errors import InputError

ROOT = Path(__file__).parents[1]
SHIPPED = [*ROOT.glob("config/*.yaml"), ROOT / "hsac/data/catalogue.yaml"]


def refused(text):
    """Return the line that refuses a text of YAML."""
    with pytest.raises(InputError) as caught:
        parse_yaml(text, "a.yaml")
    line = str(caught.value)
    assert line.startswith("a.yaml: ")
    assert "\n" not in line
    return line


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_shipped_files_read_as_before(path):
    """PyYAML's own loader makes the same of every file that is shipped."""
    with open(path, encoding="utf-8") as stream:
        expected = yaml.safe_load(stream)
    found = read_yaml(path)
    assert json.dumps(found) == json.dumps(expected)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5e-4", 5e-4),
        ("1e-2", 0.01),
        ("-3E+2", -300.0),
        ("1.0e-3", 1e-3),
        (".5", 0.5),
        ("1.", 1.0),
        ("8", 8),
        ("-0", 0),
        ("0x1F", 31),
        ("0o17", 15),
        ("1_000", 1000),
        ("true", True),
        ("~", None),
        ("", None),
        ("2024-01-01", "2024-01-01"),
        ("'010'", "010"),
        ('"yes"', "yes"),
        ("y", "y"),
        ("1e", "1e"),
        ("e5", "e5"),
        ("=", "="),
    ],
)
def test_scalars_are_those_of_json(text, value):
    """A number with an exponent is one, a date is a text, and the type is kept."""
    found = parse_yaml(f"a: {text}", "a.yaml")["a"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("010", "found 010; allowed is 10 for a number, or '010' in quotes"),
        ("-007", "found -007; allowed is -7 for a number"),
        ("00", "found 00; allowed is 0 for a number"),
        ("08", "found 08; allowed is 8 for a number"),
        ("1:30", "found 1:30; allowed is a number without colons"),
        ("1:30:15.5", "found 1:30:15.5; allowed is a number without colons"),
        ("yes", "found yes; allowed is true for a truth value, or 'yes' in quotes"),
        ("Off", "found Off; allowed is false for a truth value"),
        ("1e400", "found 1e400; allowed are finite numbers"),
        ("9" * 5000, "found a number of 5000 digits"),
        ("!!int '3'", "found the tag"),
        ("!!python/object/apply:os.getpid []", "could not determine a constructor"),
    ],
)
def test_ambiguous_values_are_refused(text, words):
    """What YAML 1.1 and a reader take for different values is neither, and the line is named."""
    line = refused(f"b: 1\na: [1, {text}]")
    assert "line 2: " in line
    assert words in line


@pytest.mark.parametrize(
    ("text", "lines", "key"),
    [
        ("seeds: [0]\nbundle: 1\nseeds: [7]", "lines 1 and 3", "seeds"),
        ("a:\n  b: 1\n  'b': 2", "lines 2 and 3", "b"),
        ("1: a\n'1': b", "lines 1 and 2", "1"),
        ("a: &x\n  k: 1\n  k: 2\nb: *x", "lines 2 and 3", "k"),
        ("a: &x {k: 1}\nb:\n  <<: *x\n  m: 1\n  m: 2", "lines 4 and 5", "m"),
        ("a: &x {k: 1}\nb:\n  <<: *x\n  <<: *x", "lines 3 and 4", "<<"),
        ("b: 1\na: {k: 1, k: 1}", "line 2", "k"),
    ],
)
def test_duplicate_keys_are_refused(text, lines, key):
    """Both lines are named, at any depth, in quotes or not, in an anchor or beside a merge."""
    assert refused(text) == f"a.yaml: {lines}: found the key {key!r} twice; allowed is once"


def test_merged_keys_may_be_overridden():
    """A key of a mapping stands over the same key of what `<<` merges, as the merge is for."""
    text = "a: &a {k: 1, m: 1}\nb: &b {k: 2, n: 2}\nc: {<<: [*a, *b], m: 3}\nd: {k: 4, <<: *a}"
    found = parse_yaml(text, "a.yaml")
    assert found["c"] == {"k": 1, "m": 3, "n": 2}
    assert found["d"] == {"k": 4, "m": 1}


def test_keys_are_texts():
    """JSON has no others, and an alias keeps its own type where it is a value."""
    assert parse_yaml("2024: &n 3\non: 1\n010: 2\nnull: *n\n*n : *n", "a.yaml") == {
        "2024": 3,
        "on": 1,
        "010": 2,
        "null": 3,
        "3": 3,
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("&a [*a]", "contains itself"),
        ("a: &a {b: *a}", "contains itself"),
        ("[" * 3000, "too deep"),
        ("? [a]\n: b", "found a list as a key"),
        ("a: [1, 2", "not valid YAML: line 1"),
        ("a: 1\n---\nb: 2", "not valid YAML: line 2"),
        ("a: \x00", "not valid YAML"),
        ("*x", "undefined alias"),
    ],
)
def test_no_document_is_one_line(text, words):
    assert words in refused(text)


def test_repeated_aliases_are_counted():
    """A short file may stand for more values than memory holds."""
    levels = [
        f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]"
        for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    ]
    text = "\n".join(["a: &a [0, 0, 0, 0, 0, 0, 0, 0, 0, 0]", *levels])
    assert "found more than 1000000 values" in refused(text)


def test_syntax_errors_are_told_apart():
    """A command line takes what is no YAML for a text, but no value that is refused."""
    with pytest.raises(NotYaml):
        parse_yaml("@mirror", "here")
    with pytest.raises(InputError) as caught:
        parse_yaml("010", "here")
    assert not isinstance(caught.value, NotYaml)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_utf_8_may_have_a_mark(tmp_path, encoding):
    """Line ends of any system are one, as in Python's own text files."""
    path = tmp_path / "a.yaml"
    path.write_bytes("θ: Poincaré\r\nb: 1\r".encode(encoding))
    assert read_text(path) == "θ: Poincaré\nb: 1\n"
    assert read_yaml(path) == {"θ": "Poincaré", "b": 1}
    path.write_bytes('{"θ": "Poincaré"}'.encode(encoding))
    assert read_json(path) == {"θ": "Poincaré"}


@pytest.mark.parametrize(
    ("data", "found"),
    [
        ("a: 1\nb: für".encode("latin-1"), "the byte 0xfc in line 2, as of another encoding"),
        ("\ufeffa: für".encode() + b"\n\xff", "the byte 0xff in line 2, as of another encoding"),
        ("a: 1".encode("utf-16"), "UTF-16"),
        ("a: 1".encode("utf-16-be"), "a NUL byte in line 1"),
        ("\ufeffa: 1".encode("utf-16-be"), "UTF-16"),
        ("a: 1".encode("utf-32"), "UTF-32"),
        (b"a: 1\nb: \0", "a NUL byte in line 2"),
    ],
)
@pytest.mark.parametrize("read", [read_text, read_yaml, read_json])
def test_other_encodings_are_named(tmp_path, data, found, read):
    path = tmp_path / "a.yaml"
    path.write_bytes(data)
    with pytest.raises(InputError) as caught:
        read(path)
    assert str(caught.value) == f"{path}: found {found}; allowed is UTF-8"


@pytest.mark.parametrize("read", [read_text, read_yaml, read_json])
def test_unreadable_documents_are_named(tmp_path, read):
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(InputError, match=str(path)) as caught:
            read(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a": 1, "b": {"c": 1, "c": 1}}', "found the key 'c' twice; allowed is once"),
        ('{"a": NaN}', "found NaN; allowed are finite numbers"),
        ('{"a": [1e999]}', "found 1e999; allowed are finite numbers"),
        ("[" * 100_000, "too deep"),
        ('{"a": ', "not valid JSON: line 1, column 7"),
    ],
)
def test_odd_json_is_one_line(tmp_path, text, words):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        read_json(path)
    assert str(caught.value).startswith(f"{path}: {words}" if "deep" not in words else f"{path}: ")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_json_keeps_its_types():
    text = '{"a": [1, 1.0, 1e-3, true, null, "010"], "b": {}}'
    assert parse_json(text) == json.loads(text)
    assert [type(one) for one in parse_json(text)["a"]] == [type(x) for x in json.loads(text)["a"]]


def _texts_without_encoding(path):
    """Yield the lines of a file that open a text in whatever encoding the locale has."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if not isinstance(node, ast.Call):
            continue
        named = {keyword.arg: keyword.value for keyword in node.keywords}
        name = ast.unparse(node.func)
        plain = not node.args and "encoding" not in named
        if name.endswith(".read_text") and plain:
            yield node.lineno
        if name.endswith(".write_text") and len(node.args) < 2 and "encoding" not in named:
            yield node.lineno
        if name in ("open", "io.open", "gzip.open") and "encoding" not in named:
            mode = node.args[1] if len(node.args) > 1 else named.get("mode", ast.Constant("r"))
            if "b" not in ast.unparse(mode):
                yield node.lineno
        if name.startswith("subprocess.") and "text" in named and "encoding" not in named:
            yield node.lineno


def test_every_text_names_its_encoding():
    """The package would else work in some locales and not in others."""
    files = [*ROOT.glob("hsac/**/*.py"), *ROOT.glob("profiles/*/submit")]
    found = [f"{path}:{line}" for path in files for line in _texts_without_encoding(path)]
    assert found == []


def test_the_encoding_check_sees(tmp_path):
    path = tmp_path / "a.py"
    lines = [
        "open(x)",
        "p.read_text()",
        "p.write_text(t)",
        "subprocess.run(c, text=True)",
        "open(x, 'rb')",
    ]
    path.write_text("\n".join(lines))
    assert [*_texts_without_encoding(path)] == [1, 2, 3, 4]


ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.parametrize("more", [ASCII, {"PYTHONIOENCODING": "latin-1"}, {}])
@pytest.mark.parametrize("words", ["plan --scale smoke", "list", "data list", "list losses"])
def test_the_locale_does_not_count(words, more):
    """Files with θ are read in any, and what it cannot write is written in another way."""
    command = [sys.executable, "-m", "hsac", *words.split()]
    said = []
    for given in ({"PYTHONUTF8": "1"}, more):
        environment = {**os.environ, "PYTHONPATH": str(ROOT), **given}
        ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True)
        assert ran.returncode == 0, ran.stderr
        said.append(ran.stdout)
    assert len(said[0].splitlines()) == len(said[1].splitlines())
    if more is ASCII:
        assert said[0] == said[1]


@pytest.mark.parametrize("read", [read_text, read_yaml, read_json])
@pytest.mark.parametrize(
    ("data", "words"),
    [
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
            "a Git LFS pointer",
        ),
        (b"/annex/objects/SHA256E-s9--00.json\n", "a git-annex pointer"),
        (b"\xef\xbb\xbf<HTML lang=en>", "an HTML page"),
    ],
)
def test_stand_ins_are_told(read, data, words, tmp_path):
    """What a clone or a login page left in a file's place is said, not read."""
    path = tmp_path / "split.json"
    path.write_bytes(data)
    with pytest.raises(InputError, match=f"^{path}: begins with .*: {words}, not the file; "):
        read(path)


@pytest.mark.parametrize("read", [read_text, read_json, files.read_json])
def test_endless_devices_are_refused(read):
    """/dev/zero would be read until the memory is full."""
    with pytest.raises(InputError, match=r"^/dev/zero: found a device; allowed is a file$"):
        read(Path("/dev/zero"))
    with pytest.raises(InputError, match="cannot be read"):
        read(Path("a\0b"))
