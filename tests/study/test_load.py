"""What a configuration is loaded from, and the lines that say what is wrong with it."""

import json
from pathlib import Path

import pytest
import yaml
from studies import CONFIG, changed, smoke, smoke_keys, with_digits

from hsac.errors import InputError
from hsac.files import digest, write_json
from hsac.study import load
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
    with pytest.raises(InputError, match=r"config\.yaml cannot be read") as caught:
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
