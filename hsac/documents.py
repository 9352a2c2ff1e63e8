"""Read the text, YAML and JSON that people write: UTF-8, no key twice, no number to guess at.

YAML is read by the rules of YAML 1.2 for what JSON can hold. So `5e-4` is a number, a key is a text
and `2024-01-01` is one, too. What YAML 1.1 reads in a way that few expect is refused: `010` (8),
`1:30` (90), and `yes`, `no`, `on` and `off` (true and false). Files that hsac itself wrote are read
by `hsac.files`.
"""

import io
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import yaml

from hsac.errors import InputError
from hsac.files import read_bytes

UTF_8 = "utf-8-sig"  # with the byte order mark that some editors write, or without
MARKS = {  # how the bytes of other encodings begin, those of UTF-32 before those of UTF-16
    b"\xff\xfe\x00\x00": "UTF-32",
    b"\x00\x00\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}
CORE = "tag:yaml.org,2002:"
TEXT, MERGE = f"{CORE}str", f"{CORE}merge"
POINTERS = (  # how they begin, what makes them, and what brings the file
    ("version https://git-lfs", "Git LFS", "git lfs pull"),
    ("/annex/objects/", "git-annex", "git annex get"),
)
HEAD = 512  # bytes that tell what a file is
LARGEST = 1_000_000  # values of a file, those that an alias repeats counted each time


class NotYaml(InputError):
    """The text is no YAML at all."""


def stand_in(head: bytes) -> str | None:
    """Tell what stands in a file's place, by its first bytes.

    Args:
        head: its first bytes, some hundreds or all.

    Returns:
        How the file begins, what it is and what to do. None unless it is a pointer of Git LFS or
        git-annex, or an HTML page, such as of a login or an error.
    """
    for begins, what, cure in POINTERS:
        if head.startswith(begins.encode()):
            said = f"a {what} pointer, not the file; run `{cure}` where it was cloned"
            return f"begins with '{begins}…': {said}"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith((b"<!doctype html", b"<html")):
        begins = text.split(maxsplit=1)[0].decode("ascii", "replace")
        return f"begins with '{begins}': an HTML page, not the file; download it anew"
    return None


def read_text(path: Path) -> str:
    """Read a text file.

    Args:
        path: the file, in UTF-8 with or without a byte order mark.

    Returns:
        The text, its line ends each a line feed.

    Raises:
        InputError: The file is missing, unreadable, in another encoding or a `stand_in`.
    """
    try:
        data = read_bytes(path)
    except FileNotFoundError:
        raise InputError(f"{path}: missing") from None
    except (OSError, ValueError) as error:  # a path may have a NUL
        said = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: cannot be read: {said}") from None
    if other := stand_in(data[:HEAD]):
        raise InputError(f"{path}: {other}")
    found = next((name for mark, name in MARKS.items() if data.startswith(mark)), None)
    # UTF-16 without a mark is half NULs, and so is what is no text.
    if found is None and b"\0" in data:
        found = f"a NUL byte in line {data[: data.index(0)].count(10) + 1}"
    if found is None:
        try:
            return io.TextIOWrapper(io.BytesIO(data), encoding=UTF_8).read()
        except UnicodeDecodeError as error:
            # The position counts from behind a mark.
            bad = error.object[error.start]
            line = error.object[: error.start].count(b"\n") + 1
            found = f"the byte 0x{bad:02x} in line {line}, as of another encoding"
    raise InputError(f"{path}: found {found}; allowed is UTF-8")


def read_yaml(path: Path) -> Any:
    """Read a YAML file.

    Args:
        path: the file.

    Returns:
        What JSON can hold: mappings with texts as keys, lists, texts, numbers, true, false, None.

    Raises:
        InputError: The file cannot be read, has a key twice, or a value that two versions of YAML
            read differently. The line names the file and the lines in it.
    """
    return parse_yaml(read_text(path), str(path))


def parse_yaml(text: str, source: str) -> Any:
    """Parse YAML.

    Args:
        text: the YAML.
        source: where it stands, for the error line.

    Returns:
        As `read_yaml`.

    Raises:
        NotYaml: The text is no YAML.
        InputError: As `read_yaml`.
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _check_size(node, {})
        return loader.construct_document(node)
    except _Refused as error:
        # A value of the command line has no line to name.
        line = f"{error.lines}: " if "\n" in text else ""
        raise InputError(f"{source}: {line}{error}") from None
    except RecursionError:
        raise InputError(f"{source}: found values too deep in each other") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f"line {mark.line + 1}: " if mark else ""
        said = " ".join(f"{error.problem or error.context}".split())
        raise NotYaml(f"{source}: not valid YAML: {line}{said}") from None
    except yaml.YAMLError as error:
        said = " ".join(str(error).split())
        raise NotYaml(f"{source}: not valid YAML: {said}") from None


def read_json(path: Path) -> Any:
    """Read a JSON file that a person wrote.

    Args:
        path: the file.

    Returns:
        The value in it.

    Raises:
        InputError: The file cannot be read, is no JSON, or has a key twice.
    """
    try:
        return parse_json(read_text(path))
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise InputError(f"{path}: not valid JSON: {where}: {error.msg}") from None
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None


def parse_json(text: str) -> Any:
    """Parse JSON.

    Args:
        text: the JSON.

    Returns:
        The value.

    Raises:
        json.JSONDecodeError: The text is no JSON.
        ValueError: It has a key twice, or a number that is not finite.
    """
    try:
        return json.loads(
            text,
            object_pairs_hook=_distinct_pairs,
            parse_constant=_refuse_constant,
            parse_float=_finite,
        )
    except RecursionError:
        raise ValueError("found values too deep in each other") from None


def _distinct_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, value in pairs:
        if key in made:
            raise ValueError(f"found the key {key!r} twice; allowed is once")
        made[key] = value
    return made


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"found {name}; allowed are finite numbers")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        _refuse_constant(text)
    return value


class _Refused(Exception):
    """A value or key that is valid YAML and not allowed, with the lines that it stands in."""

    def __init__(self, said: str, *nodes: yaml.Node) -> None:
        super().__init__(said)
        numbers = sorted({node.start_mark.line + 1 for node in nodes})
        self.lines = f"line{'s' if numbers[1:] else ''} {' and '.join(map(str, numbers))}"


class _Loader(yaml.SafeLoader):
    """PyYAML's loader with the scalars of JSON and texts as keys, each once in a mapping."""

    # PyYAML's own are not wanted. Both are filled below.
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own is no ClassVar
    yaml_constructors: ClassVar[dict[Any, Any]] = {}

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Compose a mapping and check its keys, before `<<` brings in those that they replace."""
        node = super().compose_mapping_node(anchor)
        node.value = [(_key(key), value) for key, value in node.value]
        seen: dict[tuple[str, str], yaml.Node] = {}
        for key, _ in node.value:
            first = seen.setdefault((key.tag, key.value), key)
            if first is not key:
                raise _Refused(f"found the key {key.value!r} twice; allowed is once", first, key)
        return node

    def compose_scalar_node(self, anchor: Any) -> yaml.ScalarNode:
        """Compose a scalar, whose form alone says what it is."""
        tag = self.peek_event().tag
        node = super().compose_scalar_node(anchor)
        if tag not in (None, "!", TEXT):
            raise _Refused(f"found the tag {tag!r}; allowed are values without a tag", node)
        return node


def _key(node: yaml.Node) -> yaml.ScalarNode:
    """Return a key as a text, as written: JSON has no other keys."""
    if not isinstance(node, yaml.ScalarNode):
        kind = "list" if isinstance(node, yaml.SequenceNode) else "mapping"
        raise _Refused(f"found a {kind} as a key; allowed is a text", node)
    if node.tag == MERGE:
        return node
    # A new node, since an alias may use the old one as a value.
    return yaml.ScalarNode(TEXT, node.value, node.start_mark, node.end_mark)


def _check_size(node: yaml.Node, known: dict[int, int | None]) -> int:
    """Count values, each repetition by an alias as well, without writing them out."""
    if id(node) in known:
        size = known[id(node)]
        if size is None:
            raise _Refused("found a value that contains itself", node)
        return size
    known[id(node)] = None
    inner: list[yaml.Node] = []
    if isinstance(node, yaml.SequenceNode):
        inner = node.value
    elif isinstance(node, yaml.MappingNode):
        inner = [value for _, value in node.value]
    size = 1 + sum(_check_size(one, known) for one in inner)
    if size > LARGEST:
        raise _Refused(f"found more than {LARGEST} values", node)
    known[id(node)] = size
    return size


def _integer(loader: _Loader, node: yaml.ScalarNode) -> int:
    try:
        return int(node.value.replace("_", ""), 0)
    except ValueError:  # Python reads some thousand digits at most
        raise _Refused(f"found a number of {len(node.value)} digits", node) from None


def _real(loader: _Loader, node: yaml.ScalarNode) -> float:
    value: float = loader.construct_yaml_float(node)
    if math.isinf(value) and "inf" not in node.value.lower():
        raise _Refused(f"found {node.value}; allowed are finite numbers", node)
    return value


def _octal(loader: _Loader, node: yaml.ScalarNode) -> NoReturn:
    sign = "-" if node.value.startswith("-") else ""
    digits = node.value.lstrip("-+0_") or "0"
    _refuse(node, f"{sign}{digits} for a number")


def _clock(loader: _Loader, node: yaml.ScalarNode) -> NoReturn:
    _refuse(node, "a number without colons")


def _word(loader: _Loader, node: yaml.ScalarNode) -> NoReturn:
    meant = "true" if node.value.lower() in ("yes", "on") else "false"
    _refuse(node, f"{meant} for a truth value")


def _refuse(node: yaml.ScalarNode, allowed: str) -> NoReturn:
    found = node.value
    raise _Refused(f"found {found}; allowed is {allowed}, or '{found}' in quotes for a text", node)


# Tag, text of a plain scalar, the characters that this may begin with, and what makes the value.
# The first that fits decides; what none fits is a text.
SCALARS: tuple[tuple[str, str, str, Callable[[Any, Any], Any] | None], ...] = (
    (MERGE, "<<", "<", None),
    (f"{CORE}null", "~|null|Null|NULL|", "~nN", yaml.SafeLoader.construct_yaml_null),
    (f"{CORE}bool", "true|True|TRUE|false|False|FALSE", "tTfF", _Loader.construct_yaml_bool),
    ("!octal", "[-+]?0[0-9_]+", "-+0", _octal),
    ("!clock", r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?", "-+0123456789", _clock),
    ("!word", "yes|Yes|YES|no|No|NO|on|On|ON|off|Off|OFF", "yYnNoO", _word),
    (
        f"{CORE}int",
        "[-+]?(0|[1-9][0-9_]*|0b[01_]*[01]|0o[0-7]+|0x[0-9a-fA-F_]*[0-9a-fA-F])",
        "-+0123456789",
        _integer,
    ),
    (
        f"{CORE}float",
        r"[-+]?(\.[0-9][0-9_]*|[0-9][0-9_]*(\.[0-9_]*)?)([eE][-+]?[0-9]+)?"
        r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
        _real,
    ),
)
for _tag, _text, _first, _made in SCALARS:
    # PyYAML takes no look at what is behind a match, so the end is part of the pattern.
    _Loader.add_implicit_resolver(_tag, re.compile(rf"(?:{_text})$"), list(_first))
# An empty value begins with nothing.
_Loader.yaml_implicit_resolvers[""] = [(f"{CORE}null", re.compile("$"))]
_Loader.yaml_constructors |= {tag: made for tag, _, _, made in SCALARS if made is not None}
_Loader.yaml_constructors |= {
    TEXT: yaml.SafeLoader.construct_yaml_str,
    f"{CORE}seq": yaml.SafeLoader.construct_yaml_seq,
    f"{CORE}map": yaml.SafeLoader.construct_yaml_map,
    None: yaml.SafeLoader.construct_undefined,  # whatever has another tag is refused
}
