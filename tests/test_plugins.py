"""Parts from plugin folders: found like the package's, gone with their configuration.

Mistakes in them are named clearly.
"""

import contextlib

import pytest
from studies import CONFIG, smoke, smoke_keys, with_digits

from hsac import cli, parts, plugins
from hsac.data import catalogue, store
from hsac.errors import InputError
from hsac.study import fingerprint, resolve
from hsac.study.part import Part

RULE = '''"""A rule."""

from dataclasses import dataclass
from typing import ClassVar

from ._shared import NOTHING


@dataclass(frozen=True)
class Mine:
    """Keeps the curvature."""

    rate: float = 0.1
    geometry: ClassVar[str] = "hyperbolic"
    needs_gradient: ClassVar[bool] = False

    def init(self, theta):
        return NOTHING

    def update(self, theta, state, step):
        return theta, state, {}
'''
DATASET = '''"""A dataset."""

import numpy as np

ENTRY = {
    "kind": "images",
    "about": "Noise.",
    "source": "drawn",
    "licence": "none",
    "citation": "none",
    "counts": {"images": {"train": 6, "test": 4}, "classes": {"train": 2, "test": 2}, "side": 3},
}


def build():
    rows = np.arange(10)
    image = np.random.Generator(np.random.PCG64(0)).integers(256, size=(10, 3, 3), dtype=np.uint8)
    split = np.where(rows < 6, 0, 2).astype(np.int8)
    arrays = {"image": image, "label": rows % 2, "split": split, "group": rows}
    return arrays | {"classes": np.array(["a", "b"])}
'''


def write(folder, files):
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


@pytest.fixture
def folder(tmp_path):
    """A plugin folder with a rule, a helper that it imports, and a dataset."""
    files = {"rules/curvature/mine.py": RULE, "rules/curvature/_shared.py": "NOTHING = {}\n"}
    return write(tmp_path / "plugged", files | {"data/sources/noise_images.py": DATASET})


def test_parts_are_found_and_forgotten(folder):
    with plugins.using([folder]):
        assert "mine" in parts.names("curvature rule")
        assert parts.parameters("curvature rule", "mine") == {"rate": "float"}
        assert parts.summary("curvature rule", "mine") == "Keeps the curvature."
        assert parts.build("curvature rule", "mine", {"rate": 2}).rate == 2
        assert parts.build("curvature rule", "fixed", {}).geometry == "hyperbolic"
        assert "noise_images" in catalogue.names()
    assert "mine" not in parts.names("curvature rule")
    assert "noise_images" not in catalogue.names()


def test_parts_are_forgotten_after_errors(folder):
    with contextlib.suppress(ZeroDivisionError), plugins.using([folder]):
        raise ZeroDivisionError
    assert "mine" not in parts.names("curvature rule")


def test_configurations_do_not_mix(folder, tmp_path):
    """Two in one process know only their own plugins."""
    other = write(
        tmp_path / "other",
        {"rules/curvature/mine.py": RULE.replace("rate", "speed").replace("._shared", "._s")},
    )
    write(other, {"rules/curvature/_s.py": "NOTHING = {}\n"})
    for one, parameter in ((folder, "rate"), (other, "speed"), (folder, "rate")):
        rules = smoke_keys("rules")
        rules["curvature"]["mine"] = {parameter: 0.5}
        smoke({"plugins": [str(one)], "rules": rules})
        with plugins.using([one]):
            assert (
                getattr(parts.build("curvature rule", "mine", {parameter: 0.5}), parameter) == 0.5
            )
    smoke()
    assert "mine" not in parts.names("curvature rule")


def test_edited_plugin_is_imported_again(folder):
    path = folder / "rules/curvature/mine.py"
    for rate in ("0.1", "0.25"):
        path.write_text(RULE.replace("0.1", rate))
        with plugins.using([folder]):
            assert parts.build("curvature rule", "mine", {}).rate == float(rate)


def method(folder, **parameters):
    """Load the digits with a method of the rule `mine`, and one that needs no plugin."""
    rules = smoke_keys("rules")
    rules["curvature"]["mine"] = parameters
    own = with_digits(methods=["sgd+mine", "sgd+fixed@0.3"])
    return smoke({"plugins": [str(folder)], "rules": rules} | own)


def test_method_has_a_plugins_rule(folder):
    cell = resolve.cell(method(folder, rate=1.0), "digits", "sgd+mine")
    assert cell.config.curvature_rule == Part("mine", {"rate": 1.0})


@pytest.mark.parametrize("value", ["fast", True])
def test_plugin_parameters_are_checked(folder, value):
    with pytest.raises(InputError, match=r"rule mine\.rate: found .*; allowed is float"):
        method(folder, rate=value)


def test_fingerprint_covers_a_plugins_imports(folder, tmp_path):
    """It changes with the plugin and with what the plugin imports."""

    def seen(where):
        config = resolve.cell(method(where), "digits", "sgd+mine").config
        with plugins.using([where]):
            return fingerprint.of_training(config), fingerprint.of_plugins(config)

    before, files = seen(folder)
    assert set(files) == {f"{folder}/rules/curvature/{name}.py" for name in ("mine", "_shared")}
    elsewhere = tmp_path / "elsewhere"
    folder.rename(elsewhere)
    assert seen(elsewhere)[0] == before
    shared = elsewhere / "rules/curvature/_shared.py"
    shared.write_text("# nothing at all\nNOTHING = {}\n")
    commented, digests = seen(elsewhere)
    assert commented == before
    assert set(digests.values()) != set(files.values())
    shared.write_text("NOTHING = {1: 2}\n")
    assert seen(elsewhere)[0] != before


def test_package_fingerprint_ignores_plugins(folder):
    config = resolve.cell(method(folder), "digits", "sgd+fixed@0.3").config
    before = fingerprint.of_training(config)
    with plugins.using([folder]):
        config = resolve.cell(method(folder), "digits", "sgd+fixed@0.3").config
        assert fingerprint.of_training(config) == before
        assert fingerprint.of_plugins(config) == {}


def test_dataset_is_fetched_by_its_code(folder, tmp_path):
    """A plugin's dataset is fetched, and fetched again when its code changes."""
    with plugins.using([folder]):
        store.fetch("noise_images", tmp_path / "data")
        arrays, _ = store.load_arrays("noise_images", tmp_path / "data")
        assert arrays["image"].shape == (10, 3, 3)
        before = fingerprint.of_data("noise_images"), fingerprint.of_data("digits")
        first = arrays["image"]
    path = folder / "data/sources/noise_images.py"
    path.write_text(DATASET.replace("PCG64(0)", "PCG64(1)"))
    with plugins.using([folder]):
        assert fingerprint.of_data("noise_images") != before[0]
        assert fingerprint.of_data("digits") == before[1]
        with pytest.raises(
            InputError, match=r"not made by the present .*noise_images\.py; fetch again"
        ):
            store.load_arrays("noise_images", tmp_path / "data")
        store.fetch("noise_images", tmp_path / "data")
        assert (store.load_arrays("noise_images", tmp_path / "data")[0]["image"] != first).any()


def test_list_marks_plugins(folder, capsys, monkeypatch):
    monkeypatch.chdir(CONFIG.parent)
    assert cli.main(["list", "--plugins", str(folder)]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert f"mine Keeps the curvature. [{folder}/rules/curvature/mine.py]" in lines
    assert f"noise_images Noise. [{folder}/data/sources/noise_images.py]" in lines
    assert any(line.startswith("fixed ") and not line.endswith("]") for line in lines)


MISTAKES = {
    "class name": (
        ("class Mine", "class MyRule"),
        "mine.py: found class MyRule; allowed is class Mine, named after",
    ),
    "no class": (("class Mine:", "def mine():"), "mine.py: found no class; allowed is class Mine"),
    "not frozen": (("(frozen=True)", ""), "class Mine: found no @dataclass(frozen=True)"),
    "no dataclass": (
        ("@dataclass(frozen=True)\n", ""),
        "class Mine: found no @dataclass(frozen=True)",
    ),
    "syntax": (("rate: float =", "rate float ="), "mine.py: line 13: SyntaxError: invalid syntax"),
    "indentation": (("    rate", "  rate"), "mine.py: line 13: IndentationError: "),
    "method": (
        ("def update", "def updat"),
        "class Mine: found no update(self, theta, state, step); a curvature rule has",
    ),
    "attribute": (
        ("    geometry", "    geometri"),
        "class Mine: found no geometry; a curvature rule has one",
    ),
    "arguments": (
        ("theta, state, step):", "theta, step):"),
        "update: found the arguments (theta, step) after self; allo",
    ),
    "default": (
        ("rate: float = 0.1", "rate: float"),
        "class Mine: found rate without a default; a parameter has one",
    ),
    "annotation": (
        ("rate: float", "rate: flaot"),
        "class Mine: rate: found the annotation flaot; allowed are bool, int",
    ),
    "value": (
        ("rate: float", "rate: int"),
        "class Mine: rate: found the default 0.1; allowed is int",
    ),
    "no type": (
        ("rate: float", "rate"),
        "class Mine: found rate without a type, so no parameter; allowed is rate: float",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistake_is_found_without_importing(folder, mistake, capsys, tmp_path):
    """It is one line, and nothing was imported."""
    (old, new), said = MISTAKES[mistake]
    assert old in RULE
    files = {"rules/curvature/mine.py": RULE.replace(old, new)}
    write(folder, files | {"rules/curvature/_shared.py": "raise OSError"})
    assert cli.main(["data", "fetch", "digits", "--plugins", str(folder)]) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert said in line


IMPORTED = {
    "raises": (
        ("NOTHING\n\n\n", "NOTHING\n\nprint({}['x'])\n\n"),
        "importing it raised KeyError: 'x' (",
    ),
    "missing module": (
        ("._shared", "._other"),
        "importing it raised ModuleNotFoundError: No module named",
    ),
    "missing name": (
        ("import NOTHING", "import ANYTHING"),
        "importing it raised ImportError: cannot import name",
    ),
    "inherited": (("class Mine:", "class Mine(dict):"), None),
    "inherits too little": (
        ("class Mine:", "class Mine(dict):"),
        "class Mine: found no init(self, theta)",
    ),
}


@pytest.mark.parametrize("mistake", IMPORTED)
def test_mistake_found_by_importing(folder, mistake, capsys, monkeypatch):
    monkeypatch.chdir(CONFIG.parent)
    (old, new), said = IMPORTED[mistake]
    text = RULE.replace(old, new)
    text = text.replace("def init", "def start") if mistake == "inherits too little" else text
    write(folder, {"rules/curvature/mine.py": text})
    assert cli.main(["list", "--plugins", str(folder)]) == (2 if said else 0)
    line = capsys.readouterr().err
    assert line.count("\n") == bool(said)
    assert (said or "") in line


def test_line_that_raised_is_named(folder):
    write(folder, {"rules/curvature/_shared.py": "\n\nNOTHING = 1 / 0\n"})
    words = r"ZeroDivisionError: .*_shared\.py, line 3\)"
    with plugins.using([folder]), pytest.raises(InputError, match=words):
        parts.part("curvature rule", "mine")


@pytest.mark.parametrize(
    "name", ["rules/curvature/drift", "data/sources/glyphs100", "data/sources/digits"]
)
def test_name_of_the_package_is_refused(tmp_path, name):
    """The error line names both files."""
    text = DATASET if "data" in name else RULE.replace("class Mine", "class Drift")
    write(tmp_path, {f"{name}.py": text})
    words = rf"{name}\.py: found the name .* which .*hsac/.* has"
    with pytest.raises(InputError, match=words) as raised, plugins.using([tmp_path]):
        pass
    assert str(parts.PACKAGE.path) in str(raised.value)


def test_two_plugins_of_one_name(folder, tmp_path):
    """They are refused in a line that names both files."""
    write(tmp_path / "b", {"rules/curvature/mine.py": RULE})
    words = r"b/rules/curvature/mine\.py: .*plugged/rules/curvature/mine\.py has"
    with pytest.raises(InputError, match=words), plugins.using([folder, tmp_path / "b"]):
        pass


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["nowhere"], "plugins: found 'nowhere', which is no folder"),
        (
            ["."],
            (
                r"plugins: found no part in \.; parts are files in rules/weights/, .*data/sources/"
                r" of a plugin folder"
            ),
        ),
        ("nowhere", "plugins: found 'nowhere'; allowed is a list of different folders"),
        ([1], r"plugins\.0: found 1; allowed is a folder"),
    ],
)
def test_plugin_folders_are_checked(tmp_path, monkeypatch, given, said):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=f"the command line: {said}"):
        smoke({"plugins": given})


def test_misplaced_part_is_pointed_at(folder):
    (folder / "rules/curvature/mine.py").rename(folder / "rules/mine.py")
    with pytest.raises(
        InputError, match=r"found 'mine'; .*rules/mine\.py lies in no folder of curvature rules"
    ):
        method(folder)


ENTRIES = {
    "no entry": (("ENTRY", "ENTRI"), r"noise_images\.py: ENTRY: found None; allowed is a dict"),
    "no build": (("def build", "def make"), r"noise_images\.py: found 'no function build'"),
    "computed": (
        ('"Noise."', "str(1)"),
        r"noise_images\.py: line 5: ENTRY: allowed is a dict of plain values",
    ),
    "kind": (
        ('"images",', '"pictures",'),
        r"ENTRY: noise_images\.kind: found 'pictures'; allowed is images, graph",
    ),
    "field": (('"about"', '"abuot"'), r"ENTRY: noise_images: found 'the field abuot'"),
}


@pytest.mark.parametrize("mistake", ENTRIES)
def test_dataset_entry_is_checked(tmp_path, mistake):
    (old, new), said = ENTRIES[mistake]
    write(tmp_path, {"data/sources/noise_images.py": DATASET.replace(old, new)})
    with pytest.raises(InputError, match=said), plugins.using([tmp_path]):
        pass


BUILT = {
    "raises": (
        ("rows % 2", "rows % None"),
        r"noise_images\.py: build raised TypeError: .*noise_images\.py, line \d+\)",
    ),
    "type": (
        ("dtype=np.uint8", "dtype=np.int16"),
        r"image: found int16 \(10, 3, 3\); allowed is uint8 \(N, H, W\) or",
    ),
    "axes": (
        ("(10, 3, 3)", "(10, 9)"),
        r"dataset noise_images: image: found uint8 \(10, 9\); allowed is uint8",
    ),
    "missing": (
        (', "group": rows', ""),
        r"dataset noise_images: found no array 'group'; images have one, int64",
    ),
    "length": (
        ('"group": rows', '"group": rows[1:]'),
        r"dataset noise_images: group: found 9 values for 10 images",
    ),
    "label": (
        ("rows % 2", "rows % 3"),
        r"dataset noise_images: label: found 2 at \[2\]; allowed is 0 to 1",
    ),
    "split": (
        ("rows < 6, 0, 2", "rows < 6, -1, 2"),
        r"dataset noise_images: split: found -1 at \[0\]; allowed is 0 to 2",
    ),
    "nothing": (
        ("return arrays |", "arrays |"),
        r"noise_images\.py: what build returned: found 'NoneType'; allowed is a dict of numpy",
    ),
    "no array": (
        ('"group": rows', '"group": rows.tolist()'),
        r"what build returned: group: found 'list'; allowed is numpy arrays of numbers or texts",
    ),
    "objects": (
        ('"group": rows', '"group": rows, "more": rows.astype(object)'),
        r"what build returned: more: found 'object'; allowed is numpy arrays of numbers or texts",
    ),
    "name": (
        ('"group": rows', '"group": rows, "file": rows'),
        r"what build returned: name of an array: found 'file'; allowed is a text other than",
    ),
    "gap": (
        ("rows % 2", "rows % 2 * 2"),
        r"dataset noise_images: label: found 2 at \[1\]; allowed is 0 to 1",
    ),
    "flat": (
        ("integers(256,", "integers(1,"),
        r"dataset noise_images: image: found only pictures of one value each, such as 0 at \[0\]",
    ),
    "counts": (
        ('"train": 6', '"train": 7'),
        r"dataset noise_images: found .*'train': 6.*; the catalogue says .*'train': 7",
    ),
}


@pytest.mark.parametrize("mistake", BUILT)
def test_built_arrays_are_checked(tmp_path, mistake):
    (old, new), said = BUILT[mistake]
    write(tmp_path, {"data/sources/noise_images.py": DATASET.replace(old, new)})
    with plugins.using([tmp_path]), pytest.raises(InputError, match=said):
        store.fetch("noise_images", tmp_path / "data")


@pytest.mark.parametrize(
    ("family", "name"), [(f, n) for f in parts.FAMILIES for n in parts.names(f)]
)
def test_own_parts_obey_the_interfaces(family, name):
    """So what is said to a plugin's author is what the suite asks for."""
    if name not in ("grid", "best_of"):  # chosen among other methods' runs: it has no methods
        plugins._check(family, parts.file(family, name))
        plugins.check_class(family, name, parts.part(family, name))


@pytest.mark.parametrize(
    ("first", "encoding"),
    [("", "utf-8-sig"), ("# -*- coding: latin-1 -*-\n", "latin-1"), ("# θ\n", "utf-8")],
)
def test_plugins_are_read_as_python(folder, first, encoding):
    """A file may have a byte order mark or name its encoding, as for any other program."""
    text = first + RULE.replace("Keeps the curvature.", "Hält die Krümmung.")
    (folder / "rules/curvature/mine.py").write_bytes(text.encode(encoding))
    dataset = first + DATASET.replace("Noise.", "Geräusch.")
    (folder / "data/sources/noise_images.py").write_bytes(dataset.encode(encoding))
    with plugins.using([folder]):
        assert parts.summary("curvature rule", "mine") == "Hält die Krümmung."
        assert parts.build("curvature rule", "mine", {}).rate == 0.1
        assert catalogue.entry("noise_images").about == "Geräusch."


def test_plugins_of_no_encoding_are_refused(folder):
    path = folder / "rules/curvature/mine.py"
    path.write_bytes(RULE.replace("Keeps", "Hält").encode("latin-1"))
    with pytest.raises(InputError, match=f"^{path}: ") as caught, plugins.using([folder]):
        pass
    assert "\n" not in str(caught.value)
