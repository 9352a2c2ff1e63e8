"""What a configuration is loaded from, and the lines that say what is wrong with it."""

import datetime
import json
import math
import shutil
from pathlib import Path

import pytest
import yaml
from snakemake.cli import parse_config
from studies import CONFIG, changed, smoke, smoke_keys, with_digits

from hsac import parts
from hsac.errors import InputError
from hsac.files import digest, write_json
from hsac.study import load, resolve
from hsac.study.method import Method
from hsac.study.models import SETTINGS

GOLDEN = Path(__file__).parents[1] / "golden" / "studies.json"
LEFT_OUT = {  # settings that a scale has no experiment of
    "gcn": {"long_tailed", "noisy", "few_shot"},
    "variants": {"few_shot"},
    "ablation": {"long_tailed", "few_shot"},
    "robustness": {"few_shot"},
    "bias": {"few_shot"},
    "guard": {"few_shot"},
    "frozen": {"long_tailed", "noisy"},
    "whole": {"few_shot"},
}


@pytest.mark.parametrize("scale", load.SCALES)
def test_shipped_scales_load(scale):
    study = load.load(scale, folder=CONFIG)
    assert study.scale == scale
    missing = set(SETTINGS) - {one.setting for one in study.experiments.values()}
    assert missing == LEFT_OUT.get(scale, set())


def test_shipped_scales_keep_their_content():
    """What a study dumps is what results hold as settings.json: the same bytes for ever."""
    found = {scale: digest(load.load(scale, folder=CONFIG).dump()) for scale in load.SCALES}
    assert found == json.loads(GOLDEN.read_text())


def test_every_shipped_scale_is_named():
    named = {f"{scale if scale != 'default' else 'config'}.yaml" for scale in load.SCALES}
    assert named == {p.name for p in CONFIG.glob("*.yaml")} - {"claims.yaml", "published.yaml"}


def test_methods_scale_has_every_part():
    """Labels of people alone need data that no package carries."""
    study = load.load("methods", folder=CONFIG)
    cells = [one.config for one in resolve.cells(study)]
    variants = [one.variant for one in study.experiments.values()]
    used = {
        "weight rule": {one.weight_rule.name for one in cells},
        "curvature rule": {one.curvature_rule.name for one in cells},
        "loss": {one.loss.name for one in cells},
        "head": {one.model.head.name for one in cells if one.model.head} | {"poincare_mlr"},
        "model": {one.model.name for one in cells},
        "noise kind": {one.parameters["kind"] for one in variants if "kind" in one.parameters}
        | {"human"},
    }
    for family, names in used.items():
        assert names == set(parts.names(family)), family


def test_default_scale_keeps_its_promises():
    """Every experiment has the rivals and the seeds that the README promises."""
    study = load.load("default", folder=CONFIG)
    for name, experiment in study.experiments.items():
        rules = {method.partition("@")[0] for method in experiment.methods}
        base = Method.of(experiment.reference).weight
        rivals = ("euclidean", "grid", "learned", "drift_up", "drift_down", "hsac")
        assert {f"{base}+{rule}" for rule in rivals} <= rules
        assert {"sam+fixed", "sam+learned", "sam+hsac"} <= rules
        assert len([one for one in experiment.methods if one.startswith(f"{base}+fixed@")]) >= 3
        assert len(study.seeds_of(name)) >= (5 if experiment.setting == "few_shot" else 10)


CURVATURE = {"start": -1, "bounds": [0.01, 5], "transform": "exp", "sharing": "shared"}


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ({"seed": [0]}, ["seed:", "unknown key", "did you mean 'seeds'"]),
        ({"seeds": [0, "one"]}, ["seeds.1", "'one'", "an integer from 0"]),
        ({"seeds": []}, ["seeds", "[]"]),
        ({"seeds": [1, 1]}, ["seeds", "different integers"]),
        ({"device": "gpu"}, ["device", "'gpu'", "cuda"]),
        ({"curvature": CURVATURE}, ["start", "-1"]),
    ],
)
def test_bad_top_level_keys(override, words):
    with pytest.raises(InputError) as caught:
        smoke(override)
    assert "\n" not in str(caught.value)
    for word in ["the command line", *words]:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("place", "known"),
    [
        (["seed"], "seeds"),
        (["curvature", "bound"], "bounds"),
        (["measure", "radus"], "radius"),
        (["search", "point"], "points"),
        (["spaces", "weight"], "weights"),
        (["rules", "loses"], "losses"),
        (["theory", "probe"], "probes"),
        (["theory", "certificate", "sigma"], "sigmas"),
        (["experiments", "digits", "metods"], "methods"),
        (["experiments", "digits", "training", "epoch"], "epochs"),
        (["experiments", "digits", "curvature", "starts"], "start"),
        (["experiments", "digits", "hypergradient", "draw"], "draws"),
        (["experiments", "digits", "search", "seed"], "seeds"),
    ],
)
def test_unknown_keys_name_the_nearest(place, known):
    """At whatever level a key is misspelt, its line names it in full and what it may mean."""
    keys = smoke_keys() | {"search": {"points": 2}}
    keys["experiments"]["digits"] |= {
        "search": {"points": 2},
        "hypergradient": {"method": "sgd+hsac"},
    }
    with pytest.raises(InputError) as caught:
        smoke({place[0]: changed(keys, *place, value=[0])[place[0]]})
    line = str(caught.value)
    assert line.startswith(f"the command line: {'.'.join(place)}: found an unknown key; allowed ")
    assert line.endswith(f"(did you mean '{known}'?)")
    assert "\n" not in line


def test_all_problems_are_told_at_once(tmp_path):
    """One line each and none twice, of the default's file, the scale's, and the command line."""
    base = yaml.safe_load((CONFIG / "config.yaml").read_text())
    base["measure"]["radius"] = 0
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(base))
    scale = {"seeds": [0, -1, "one"], "bundel": 3}
    (tmp_path / "smoke.yaml").write_text(yaml.safe_dump(scale))
    with pytest.raises(InputError) as caught:
        load.load("smoke", {"device": "gpu", "bundle": 0}, tmp_path)
    lines = str(caught.value).splitlines()
    told = [line.partition(": found")[0] for line in lines]
    assert sorted(told) == sorted(
        [
            f"{tmp_path}/config.yaml: measure.radius",
            f"{tmp_path}/smoke.yaml: seeds.1",
            f"{tmp_path}/smoke.yaml: seeds.2",
            f"{tmp_path}/smoke.yaml: bundel",
            "the command line: device",
            "the command line: bundle",
        ]
    )


def test_misfits_are_told_at_once():
    """So are problems beyond the form of the keys, of one experiment and of several."""
    experiments = smoke_keys("experiments")
    experiments["digits"]["methods"] += ["sgd+hsca", "sdg+hsac"]
    experiments["disease"]["dataset"] = "diseases"
    experiments["glyphs_noisy"]["reference"] = "sgd+fixed@9"
    with pytest.raises(InputError) as caught:
        smoke({"experiments": experiments})
    lines = str(caught.value).splitlines()
    assert len(lines) == len(set(lines)) == 4
    for line, word in zip(lines, ["'hsca'", "'sdg'", "'diseases'", "reference"], strict=True):
        assert word in line


def test_a_shared_problem_is_told_once():
    """A rule that all methods of all experiments share is wrong in one way only."""
    rules = smoke_keys("rules")
    rules["curvature"]["hsac"] = {"radios": 1}
    with pytest.raises(InputError) as caught:
        smoke({"rules": rules})
    lines = str(caught.value).splitlines()
    assert len(lines) == len(set(lines))
    assert all("radios: found an unknown key" in line for line in lines)


def test_the_file_is_named(tmp_path):
    (tmp_path / "config.yaml").write_text((CONFIG / "config.yaml").read_text() + "\nsneeds: [1]\n")
    line = r"config\.yaml: sneeds: found an unknown key.*did you mean 'seeds'"
    with pytest.raises(InputError, match=line):
        load.load("default", folder=tmp_path)


def test_broken_yaml_is_one_line(tmp_path):
    (tmp_path / "config.yaml").write_text("seeds: [0\nbundle: {")
    with pytest.raises(InputError, match=r"config\.yaml: not valid YAML: line 2") as caught:
        load.load("default", folder=tmp_path)
    assert "\n" not in str(caught.value)


def test_unknown_scale_names_the_nearest():
    with pytest.raises(InputError, match="did you mean 'smoke'"):
        load.load("smok", folder=CONFIG)


def test_a_scale_replaces_grids_whole(tmp_path):
    base = yaml.safe_load((CONFIG / "config.yaml").read_text())
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(base))
    only = {"experiments": {"only": base["experiments"]["digits"]}}
    (tmp_path / "smoke.yaml").write_text(yaml.safe_dump(only))
    assert list(load.load("smoke", folder=tmp_path).experiments) == ["only"]


def test_command_line_lists_are_retyped():
    """Snakemake's --config leaves numbers inside a list text; they are numbers again."""
    given = {
        "seeds": ["0", "10"],
        "device": "cpu",
        "experiments": {"a": {"rate": "5.0e-4", "search": "null", "methods": ["sgd+hsac"]}},
    }
    wanted = {
        "seeds": [0, 10],
        "device": "cpu",
        "experiments": {"a": {"rate": 5e-4, "search": None, "methods": ["sgd+hsac"]}},
    }
    assert load.retyped(given) == wanted
    for text in ("@foo", "a: b: c", "{a", "no", "on", "yes"):
        assert load.retyped([text]) == [text]
    assert load.retyped(["true", "false"]) == [True, False]


def test_a_missing_key_is_named(tmp_path):
    whole = yaml.safe_load((CONFIG / "config.yaml").read_text())
    del whole["rules"]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(whole))
    with pytest.raises(InputError, match=r"config\.yaml: rules: found nothing"):
        load.load("default", folder=tmp_path)


def test_missing_keys_are_told_at_once(tmp_path):
    """A study without a theory lacks nothing; of a theory each key that is missing is named."""
    whole = yaml.safe_load((CONFIG / "config.yaml").read_text())
    for key in ("rules", "measure", "theory"):
        del whole[key]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(whole))
    with pytest.raises(InputError) as caught:
        load.load("default", folder=tmp_path)
    told = [line.partition(": found nothing")[0] for line in str(caught.value).splitlines()]
    assert told == [f"{tmp_path}/config.yaml: measure", f"{tmp_path}/config.yaml: rules"]
    with pytest.raises(InputError) as caught:
        smoke({"theory": {"studies": {}}})
    told = [line.partition(": found nothing")[0] for line in str(caught.value).splitlines()]
    keys = ("measured", "probes", "certificate", "informed")
    assert told == [f"the command line: theory.{key}" for key in keys]


def test_the_mirror_is_no_part():
    """Where data are read from is asked for apart, and changing it leaves the study the same."""
    assert smoke({"mirror": "somewhere"}).dump() == smoke().dump()
    assert load.mirror("smoke", {"mirror": "somewhere"}, CONFIG) == "somewhere"
    assert load.plugin_folders("smoke", CONFIG) == []


def test_a_written_study_is_read_back(tmp_path):
    study = smoke(with_digits(seeds=[7], search=None))
    write_json(tmp_path / "settings.json", study.dump())
    read = load.read(tmp_path / "settings.json")
    assert read == study
    assert digest(read.dump()) == digest(study.dump())


def test_a_damaged_settings_file_is_named(tmp_path):
    path = tmp_path / "settings.json"
    write_json(path, smoke_keys() | {"seeds": [], "bundle": 0})
    with pytest.raises(InputError) as caught:
        load.read(path)
    seeds, bundle = str(caught.value).splitlines()
    assert seeds.startswith(f"{path}: seeds: found []")
    assert bundle.startswith(f"{path}: bundle: found 0")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("seeds: [0]\nbundle: 1\nseeds: [7]\n", "lines 1 and 3: found the key 'seeds' twice"),
        ("experiments:\n  digits: 1\n  digits: 2\n", "lines 2 and 3: found the key 'digits' twice"),
        ("seeds: [0, 010]\n", "line 1: found 010; allowed is 10"),
        ("bundle: 1\ntime_limit: 1:30\n", "line 2: found 1:30; allowed is a number"),
        ("", "found nothing, allowed is a mapping"),
    ],
)
def test_documents_say_no_thing_twice(tmp_path, text, words):
    """A scale's file is refused, with the line in it, where it says a thing in two ways."""
    shutil.copy(CONFIG / "config.yaml", tmp_path)
    (tmp_path / "own.yaml").write_text(text)
    with pytest.raises(InputError) as caught:
        load.load("own", folder=tmp_path)
    assert str(caught.value).startswith(f"{tmp_path}/own.yaml: {words}")


def test_exponents_are_numbers(tmp_path):
    """`5e-4` is the number that YAML 1.2 and the command line take it for."""
    shutil.copy(CONFIG / "config.yaml", tmp_path)
    (tmp_path / "own.yaml").write_text("measure: { radius: 5e-2, ascent_steps: 1 }\n")
    assert load.load("own", folder=tmp_path).measure.radius == 0.05


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_other_encodings_name_the_file(tmp_path, encoding):
    shutil.copy(CONFIG / "config.yaml", tmp_path)
    (tmp_path / "own.yaml").write_text("# für\nseeds: [0]\n", encoding=encoding)
    with pytest.raises(InputError, match=r"own\.yaml: found .*; allowed is UTF-8$"):
        load.load("own", folder=tmp_path)


@pytest.mark.parametrize("scale", ["2024", "007", "1e3", "true", "my tiny", "smöke"])
def test_scale_names_are_texts(tmp_path, scale):
    """Snakemake takes some for numbers, and the words of its command line tell better."""
    shutil.copy(CONFIG / "config.yaml", tmp_path)
    (tmp_path / f"{scale}.yaml").write_text("seeds: [3]\n")
    given = load.from_command_line(parse_config([f"scale={scale}"]), [f"scale={scale}"])
    assert given == {"scale": scale}
    assert load.load(given["scale"], folder=tmp_path).seeds == [3]


@pytest.mark.parametrize("scale", ["2024", "007", "1e3", "true", "x" * 300, "my tiny"])
def test_missing_scales_are_named(scale):
    with pytest.raises(InputError, match=f"^scale: found '{scale}' but there is no ") as caught:
        load.load(scale, folder=CONFIG)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "scale", ["", ".", "..", "../smoke", "/etc/x", "a/b", "{x}", "a\nb", "a\0b"]
)
def test_scale_names_are_file_names(scale):
    """Any other name would lie outside of results/, or be a wildcard of Snakemake's."""
    with pytest.raises(
        InputError, match=r"^scale: found .*; allowed is the name of a file"
    ) as caught:
        load.load(scale, folder=CONFIG)
    assert "\n" not in str(caught.value)


def test_scales_of_files_are_texts():
    """A file that --configfile names may hold a number, or nothing."""
    assert load.from_command_line({"scale": 2024}) == {"scale": "2024"}
    assert load.from_command_line({"scale": None}) == {"scale": ""}
    assert load.from_command_line({}) == {"scale": "default"}


def test_a_folder_without_configuration_is_named(tmp_path):
    """The scale's name is not at fault there, and no other name would help."""
    with pytest.raises(InputError) as caught:
        load.load("default", folder=tmp_path)
    found = f"missing in {Path.cwd()}, so this is no project folder"
    assert str(caught.value).startswith(f"{tmp_path}/config.yaml: {found}; allowed is ")
    assert "did you mean" not in str(caught.value)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["seeds=[0,1]"], {"seeds": [0, 1]}),
        (["bundle=3", "device=cpu"], {"bundle": 3, "device": "cpu"}),
        (["time_limit=5e-1"], {"time_limit": 0.5}),
        (["mirror=@odd: {"], {"mirror": "@odd: {"}),
        (["mirror=a=b"], {"mirror": "a=b"}),
        (["mirror=no"], {"mirror": "no"}),
        (["search="], {"search": None}),
        (['theory={"a":[1,"010",null]}'], {"theory": {"a": [1, "010", None]}}),
    ],
)
def test_command_line_reads_as_files(words, expected):
    found = load.from_command_line(parse_config(words), words)
    assert found == expected | {"scale": "default"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["seeds=[0]", "seeds=[1]"], "the command line: seeds: found it twice; allowed is once"),
        (["theory={a: 1, a: 2}"], "the command line: theory: found the key 'a' twice"),
        (["seeds=[0, 010]"], "the command line: seeds: found 010; allowed is 10"),
        (["time_limit=1:30"], "the command line: time_limit: found 1:30; allowed is a number"),
    ],
)
def test_command_line_says_once(words, said):
    with pytest.raises(InputError) as caught:
        load.from_command_line(parse_config(words), words)
    assert str(caught.value).startswith(said)


DEEP: list = []
for _ in range(100):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (math.nan, "found nan; allowed is a finite number"),
        (math.inf, "found inf; allowed is a finite number"),
        (10**30, "found 100 bits; allowed is an integer of 64 bits"),
        (datetime.date(2024, 1, 1), r"found datetime.date\(2024, 1, 1\); allowed is what JSON"),
        (b"x", "found b'x'; allowed is what JSON can hold"),
        ("\ud800", r"found '\\ud800'; allowed is a text in UTF-8"),
        ("x\0", r"found 'x\\x00'; allowed is a text in UTF-8 without NUL"),
        ({1: 2}, "found the key 1; allowed is a text of one line"),
        ({"a\nb": 2}, r"found the key 'a\\nb'; allowed is a text of one line"),
        ({"x" * 999: 2}, "found a key of 999 characters; allowed are 200"),
        (DEEP, "found values too deep in each other"),
    ],
)
def test_only_json_is_loaded(value, found):
    """A place that takes any value, and one that takes numbers."""
    for place in (("theory", "studies", "lipschitz", "low"), ("measure", "radius")):
        whole = changed(smoke_keys(), *place, value=value)
        with pytest.raises(InputError, match=rf"^the command line: {'.'.join(place)}\S*: {found}"):
            smoke({place[0]: whole[place[0]]})


@pytest.mark.parametrize("rule", ["a\nb", "a/b", "a{b}", "\u2028"])
def test_method_is_a_folders_name(rule):
    """Its records lie in a folder of that name, in paths that Snakemake reads."""
    rules = changed(smoke_keys("rules"), "weights", rule, value={"rule": "sgd"})
    keys = with_digits(methods=[f"{rule}+fixed"], reference=f"{rule}+fixed")
    if "\n" in rule or "\u2028" in rule:  # no key either
        rules = smoke_keys("rules")
    where = r"experiments\.digits\.methods: found .*; allowed is a name of one line without / { }"
    with pytest.raises(InputError, match=where):
        smoke(keys | {"rules": rules})


def test_long_names_are_refused():
    """A folder's name has 255 bytes at most."""
    methods = ["sgd+" + "ü" * 99, "sgd+fixed"]
    with pytest.raises(InputError, match=r"methods: found a method of 202 bytes; allowed are 200"):
        smoke(with_digits(methods=methods, reference="sgd+fixed"))
    long = "x" * 101
    with pytest.raises(InputError, match=r"variant\.name: found 'x*'; allowed is at most 100"):
        smoke(with_digits(variant={"name": long, "recipe": "plain"}))
    with pytest.raises(InputError, match=r"found 'x*'; allowed is a name of at most 100"):
        smoke({"experiments": {long: smoke_keys("experiments", "digits")}})


def test_trials_are_limited():
    """Each is drawn and hashed when the study is read."""
    with pytest.raises(InputError, match=r"points: found 10+; allowed is an integer from 1 to"):
        smoke({"search": {"points": 10**12}})


def test_informed_methods_are_checked():
    """They need not be among the methods, whose key an error would name."""
    for name, found in (("sgd", "'sgd'; allowed is weight"), ("sgd+no", "'no'; curvature rules")):
        where = r"^the command line: experiments\.digits\.informed: found "
        with pytest.raises(InputError, match=where + found):
            smoke(with_digits(informed=[name]))


@pytest.mark.parametrize("name", [{"low": 1}, 3, ["sgd"]])
def test_rule_of_an_alias_is_text(name):
    rules = changed(smoke_keys("rules"), "curvature", "fixed", value={"rule": name})
    with pytest.raises(InputError, match=r"found .*; curvature rules allowed are"):
        smoke({"rules": rules})
