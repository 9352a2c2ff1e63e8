"""Configuration: what is accepted, and the one line said about what is not."""

import re
from pathlib import Path

import pytest
import yaml

from hsac import config, layout
from hsac.errors import InputError

CONFIG = Path(__file__).parents[2] / "config"
TRAINING = {"epochs": 1, "batch": 64, "weight_decay": 5e-4, "schedule": "cosine", "evaluations": 1}


@pytest.mark.parametrize("scale", config.SCALES)
def test_shipped_scales_load(scale):
    settings = config.load(scale, folder=CONFIG)
    assert settings["scale"] == scale
    missing = set(config.SETTINGS) - {e["setting"] for e in settings["experiments"].values()}
    left_out = {
        "gcn": {"long_tailed", "noisy", "few_shot"},
        "variants": {"few_shot"},
        "ablation": {"long_tailed", "few_shot"},
        "robustness": {"few_shot"},
        "bias": {"few_shot"},
        "guard": {"few_shot"},
    }
    assert missing == left_out.get(scale, set())


def test_every_shipped_scale_is_named():
    named = {f"{scale if scale != 'default' else 'config'}.yaml" for scale in config.SCALES}
    assert named == {p.name for p in CONFIG.glob("*.yaml")} - {"claims.yaml", "published.yaml"}


def test_the_default_scale_is_what_the_readme_promises():
    settings = config.load("default", folder=CONFIG)
    for name, experiment in settings["experiments"].items():
        rules = {m.partition("@")[0] for m in experiment["methods"]}
        base = experiment["reference"].partition("+")[0]
        assert {
            f"{base}+{r}"
            for r in ("euclidean", "grid", "learned", "drift_up", "drift_down", "hsac")
        } <= rules
        assert {"sam+fixed", "sam+learned", "sam+hsac"} <= rules
        assert len([m for m in experiment["methods"] if m.startswith(f"{base}+fixed@")]) >= 3
        assert len(config.seeds(settings, name)) >= (
            5 if experiment["setting"] == "few_shot" else 10
        )


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ({"seed": [0]}, ["seed:", "unknown key", "did you mean 'seeds'"]),
        ({"seeds": [0, "one"]}, ["seeds.1", "'one'", "an integer from 0"]),
        ({"seeds": []}, ["seeds", "[]"]),
        ({"seeds": [1, 1]}, ["seeds", "different integers"]),
        ({"device": "gpu"}, ["device", "'gpu'", "cuda"]),
        (
            {
                "curvature": {
                    "start": -1,
                    "bounds": [0.01, 5],
                    "transform": "exp",
                    "sharing": "shared",
                }
            },
            ["start", "-1"],
        ),
    ],
)
def test_bad_top_level_keys(override, words):
    with pytest.raises(InputError) as caught:
        config.load("smoke", override, folder=CONFIG)
    assert "\n" not in str(caught.value)
    for word in ["the command line", *words]:
        assert word in str(caught.value)


NOISY, NOISE = {"setting": "noisy"}, {"name": "v", "recipe": "label_noise"}


def changed(**keys):
    experiment = config.load("smoke", folder=CONFIG)["experiments"]["digits"]
    return {"experiments": {"digits": {**experiment, **keys}}}


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"methods": ["sgd+hsca", "sgd+fixed@0.3"]}, ["methods", "'hsca'", "did you mean 'hsac'"]),
        ({"methods": ["sdg+hsac", "sgd+fixed@0.3"]}, ["methods", "'sdg'", "did you mean 'sgd'"]),
        ({"methods": ["sgd+fixed@-1", "sgd+fixed@0.3"]}, ["-1", "allowed is 0.005 to 5"]),
        ({"methods": ["sgd+fixed@nan", "sgd+fixed@0.3"]}, ["'nan'", "allowed is a number"]),
        ({"methods": ["sgd+fixed@small"]}, ["'small'", "a number"]),
        ({"methods": ["fixed"]}, ["'fixed'", "weight+curvature"]),
        (
            {"informed": ["sgd+random_search"]},
            ["informed", "'sgd+random_search'", "methods that train once"],
        ),
        (
            {"hypergradient": {"method": "sgd+fixed@0.4"}},
            ["hypergradient.method", "did you mean 'sgd+fixed@0.3'"],
        ),
        (
            {"hypergradient": {"method": "sgd+grid"}},
            ["'sgd+grid'", "methods with a curvature that train once"],
        ),
        (
            {"hypergradient": {"method": "sgd+euclidean"}},
            ["'sgd+euclidean'", "methods with a curvature"],
        ),
        (
            {"hypergradient": {"method": "sgd+hsac", "draws": 1}},
            ["hypergradient.draws", "1", "an integer from 2"],
        ),
        ({"hypergradient": {"at": [1.0]}}, ["hypergradient", "'method'"]),
        (
            {
                "hypergradient": {"method": "sgd+hsac"},
                "training": TRAINING | {"augment": "crop_flip"},
            },
            [
                "hypergradient",
                "training.augment 'crop_flip'",
                "batches drawn from fixed images or episodes",
            ],
        ),
        ({"methods": ["sgd+fixed@"]}, ["start ''", "a number"]),
        ({"methods": ["sgd+hsac+"]}, ["'sgd+hsac+'", "weight+curvature"]),
        (
            {"methods": ["sgd+hsac+focl"]},
            ["'focl' in 'sgd+hsac+focl'", "losses and heads", "did you mean 'focal'"],
        ),
        ({"methods": ["sgd+focal+hsac"]}, ["'hsac' in 'sgd+focal+hsac'", "losses and heads"]),
        ({"methods": ["sgd+hsac+focal@2"]}, ["'focal@2'", "did you mean 'focal'"]),
        ({"methods": ["sgd+hsac+focal+gce"]}, ["'focal' and 'gce'", "allowed is one loss"]),
        ({"methods": ["sgd+hsac+liner"]}, ["'liner' in 'sgd+hsac+liner'", "did you mean 'linear'"]),
        (
            {"methods": ["sgd+hsac+linear+prototypes"]},
            ["'linear' and 'prototypes'", "allowed is one head"],
        ),
        (
            {"model": {"name": "mlp", "head": "liner"}},
            ["model.head", "'liner'", "heads", "did you mean 'linear'"],
        ),
        (
            {"model": {"name": "mlp", "head": {"rule": "linear"}}},
            ["model.head", "the name of a head"],
        ),
        (
            {"rules": {"losses": {"focal": {"gama": 1}}}, "methods": ["sgd+hsac+focal"]},
            ["did you mean 'gamma'"],
        ),
        (
            {"rules": {"losses": {"gce": {"rule": "gec"}}}, "methods": ["sgd+hsac+gce"]},
            ["did you mean 'gce'"],
        ),
        ({"methods": ["sgd+fixed@0.3", "sgd+fixed@0.3"]}, ["twice"]),
        ({"reference": "sgd+fixed@0.4"}, ["reference", "did you mean 'sgd+fixed@0.3'"]),
        ({"dataset": "digit"}, ["dataset", "'digit'", "did you mean 'digits'"]),
        ({"model": {"name": "mpl"}}, ["model.name", "did you mean 'mlp'"]),
        ({"model": {"name": "mlp", "hiden": 3}}, ["hiden", "did you mean 'hidden'"]),
        ({"model": {"name": "mlp", "hidden": "wide"}}, ["model.hidden", "'wide'", "int"]),
        (
            {"variant": {"name": "plain", "recipe": "plane"}},
            ["variant.recipe", "did you mean 'plain'"],
        ),
        (
            {"variant": {"name": "plain", "recipe": "plain", "valid": 0.1}},
            ["variant.valid", "did you mean 'validation'"],
        ),
        ({"rules": {"curvature": {"hsac": {"radios": 1}}}}, ["radios", "did you mean 'radius'"]),
        ({"setting": "classify"}, ["setting", "'classify'"]),
        ({"setting": "noisy"}, ["variant.recipe", "'plain'", "label_noise"]),
        ({"dataset": "disease"}, ["variant.recipe", "'plain'", "graph"]),
        (
            {"variant": {"name": "v", "recipe": "public_split"}},
            ["variant.recipe", "'public_split'", "kind images"],
        ),
        ({"dataset": "cifar10n"}, ["dataset", "'cifar10n'", "a dataset of labels"]),
        (
            {**NOISY, "variant": {**NOISE, "kind": "pear"}},
            ["variant.kind", "'pear'", "did you mean 'pair'"],
        ),
        (
            {**NOISY, "variant": {**NOISE, "kind": "pair", "map": {}}},
            ["variant.map", "unknown parameter", "rate"],
        ),
        (
            {**NOISY, "variant": {**NOISE, "kind": "human", "labels": "cifar10"}},
            ["variant.column", "nothing"],
        ),
        (
            {**NOISY, "variant": {**NOISE, "kind": "human", "labels": "cifar10", "column": "x"}},
            ["variant.labels", "'cifar10'", "did you mean 'cifar10n'"],
        ),
        (
            {"model": {"name": "hgcn"}},
            ["model.name", "'hgcn'", "a model for graph", "one for images"],
        ),
        ({"model": {"name": "conv4_protonet"}}, ["model.name", "a model for episodes"]),
        (
            {"training": TRAINING | {"augment": "flip"}},
            ["training.augment", "'flip'", "allowed is crop_flip"],
        ),
        (
            {"training": TRAINING | {"schedule": "steps"}},
            ["training.schedule", "'steps'", "warmup_steps"],
        ),
    ],
)
def test_bad_experiments(keys, words):
    with pytest.raises(InputError) as caught:
        config.load("smoke", changed(**keys), folder=CONFIG)
    assert "\n" not in str(caught.value)
    for word in ["digits", *words]:
        assert word in str(caught.value)


@pytest.mark.parametrize("name", ["disease", "glyphs_few_shot"])
def test_only_classified_images_are_augmented(name):
    experiment = config.load("smoke", folder=CONFIG)["experiments"][name]
    override = {
        "experiments": {name: experiment | {"training": TRAINING | {"augment": "crop_flip"}}}
    }
    with pytest.raises(
        InputError, match=rf"{name}\.training\.augment: found 'crop_flip'; allowed where images are"
    ):
        config.load("smoke", override, folder=CONFIG)


def test_graphs_have_no_sampled_hypergradient():
    experiment = config.load("smoke", folder=CONFIG)["experiments"]["disease"]
    override = {"experiments": {"disease": experiment | {"hypergradient": {"method": "adam+hsac"}}}}
    with pytest.raises(
        InputError,
        match=r"disease\.hypergradient: found recipe 'node_split', whose batches are the whole",
    ):
        config.load("smoke", override, folder=CONFIG)


def test_measured_options_ignore_the_studies():
    """Trained networks need not be measured again when a study gets other options, but for another
    certificate.
    """
    settings = config.load("smoke", folder=CONFIG)
    theory = settings["theory"]
    other = settings | {"theory": theory | {"studies": {}, "hypergradient": {}}}
    assert config.measured_options(other) == config.measured_options(settings)
    other = settings | {"theory": theory | {"certificate": theory["certificate"] | {"delta": 0.5}}}
    assert config.measured_options(other) != config.measured_options(settings)


def test_a_studied_hypergradient_needs_options():
    """Options of an experiment's own stand over those of the theory, which have to be there."""
    theory = config.load("smoke", folder=CONFIG)["theory"]
    override = changed(hypergradient={"method": "sgd+hsac", "rows": 9})
    settings = config.load("smoke", override, folder=CONFIG)
    options = config.hypergradient_options(settings, "digits")
    assert options == theory["hypergradient"] | {"rows": 9}
    del theory["hypergradient"]
    with pytest.raises(
        InputError, match=r"theory\.hypergradient: found nothing; experiments\.digits\.hyper"
    ):
        config.load("smoke", override | {"theory": theory}, folder=CONFIG)


@pytest.mark.parametrize("recipe", ["node_split", "public_split"])
def test_a_graph_takes_both_kinds_of_split(recipe):
    experiment = config.load("smoke", folder=CONFIG)["experiments"]["disease"]
    variant = {"name": "v", "recipe": recipe, "without": [3]}
    settings = config.load(
        "smoke", {"experiments": {"disease": {**experiment, "variant": variant}}}, folder=CONFIG
    )
    assert settings["experiments"]["disease"]["variant"] == variant


def test_what_a_variant_is_made_of(monkeypatch, tmp_path):
    monkeypatch.setenv("HSAC_DATA", "d")
    human = {
        "name": "v",
        "recipe": "label_noise",
        "kind": "human",
        "labels": "cifar10n",
        "column": "worse_label",
    }
    listed = {"name": "v", "recipe": "episodes", "split": "classes.json"}
    own = Path("d/raw/cifar10/manifest.json")
    for variant, others in (
        (human, ["d/raw/cifar10n/manifest.json"]),
        (listed, ["classes.json"]),
        ({}, []),
    ):
        found = layout.variant_inputs({"dataset": "cifar10", "variant": variant})
        assert found == [own, *map(Path, others)]


def test_the_file_is_named(tmp_path):
    (tmp_path / "config.yaml").write_text((CONFIG / "config.yaml").read_text() + "\nsneeds: [1]\n")
    with pytest.raises(
        InputError, match=r"config\.yaml: sneeds: found an unknown key.*did you mean 'seeds'"
    ):
        config.load("default", folder=tmp_path)


def test_broken_yaml_is_one_line(tmp_path):
    (tmp_path / "config.yaml").write_text("seeds: [0\nbundle: {")
    with pytest.raises(InputError, match=r"config\.yaml cannot be read") as caught:
        config.load("default", folder=tmp_path)
    assert "\n" not in str(caught.value)


def test_unknown_scale_names_the_nearest():
    with pytest.raises(InputError, match="did you mean 'smoke'"):
        config.load("smok", folder=CONFIG)


def test_a_scale_replaces_grids_whole(tmp_path):
    base = yaml.safe_load((CONFIG / "config.yaml").read_text())
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(base))
    (tmp_path / "smoke.yaml").write_text(
        yaml.safe_dump({"experiments": {"only": base["experiments"]["digits"]}})
    )
    assert list(config.load("smoke", folder=tmp_path)["experiments"]) == ["only"]


def test_a_loss_and_a_head_follow_in_either_order():
    settings = config.load("smoke", folder=CONFIG)
    settings["rules"]["heads"] = {"flat": {"rule": "linear", "scale": "learned"}}
    settings["experiments"]["digits"]["rules"]["losses"] = {"focal": {"gamma": 5}}
    settings["rules"]["losses"] |= {"harder": {"rule": "focal", "gamma": 3}}
    for method, gamma in [("sgd+fixed@1+focal+flat", 5), ("sgd+fixed@1+flat+harder", 3)]:
        made = config.cell(settings, "digits", method)["config"]
        assert made["loss"] == {"rule": "focal", "parameters": {"gamma": gamma}}
        assert made["model"]["head"] == {"rule": "linear", "parameters": {"scale": "learned"}}
        assert made["curvature"]["start"] == 1
    plain = config.cell(settings, "digits", "sgd+fixed@1")
    assert plain["config"]["loss"] == {"rule": "cross_entropy", "parameters": {}}
    assert "head" not in plain["config"]["model"]
    named = config.cell(settings, "digits", "sgd+fixed@1+cross_entropy")
    assert named["hash"] == plain["hash"]
    del settings["rules"]["losses"]
    assert config.cell(settings, "digits", "sgd+fixed@1") == plain


def test_a_loss_and_a_head_of_one_name_are_refused():
    rules = config.load("smoke", folder=CONFIG)["rules"]
    given = {"rules": {**rules, "heads": {"focal": {"rule": "poincare_mlr"}}}}
    with pytest.raises(
        InputError, match=r"the command line: rules\.heads: found 'focal', which is a loss"
    ):
        config.load("smoke", given, folder=CONFIG)


@pytest.mark.parametrize("loss", ["elr", "balanced_softmax", "ldam_drw"])
def test_a_loss_of_labelled_rows_is_refused_on_episodes(loss):
    experiment = config.load("smoke", folder=CONFIG)["experiments"]["glyphs_few_shot"]
    given = {
        "experiments": {
            "shots": {**experiment, "methods": [*experiment["methods"], f"adam+hsac+{loss}"]}
        }
    }
    with pytest.raises(
        InputError, match=rf"'adam\+hsac\+{loss}', whose loss '{loss}' needs labelled training rows"
    ):
        config.load("smoke", given, folder=CONFIG)
    given["experiments"]["shots"]["methods"][-1] = "adam+hsac+focal"
    config.load("smoke", given, folder=CONFIG)


def test_a_head_is_refused_where_the_model_takes_none():
    experiment = config.load("smoke", folder=CONFIG)["experiments"]["glyphs_few_shot"]
    given = {
        "experiments": {
            "shots": {**experiment, "methods": [*experiment["methods"], "adam+hsac+linear"]}
        }
    }
    with pytest.raises(
        InputError, match=r"'adam\+hsac\+linear'; model 'conv4_protonet' takes no head"
    ):
        config.load("smoke", given, folder=CONFIG)


def test_a_methods_head_goes_before_the_models():
    settings = config.load("smoke", folder=CONFIG)
    settings["experiments"]["digits"]["model"]["head"] = "linear_scaled"
    heads = [
        config.cell(settings, "digits", f"sgd+hsac{more}")["config"]["model"]["head"]
        for more in ("", "+linear")
    ]
    assert heads == [
        {"rule": "linear", "parameters": {"scale": "learned"}},
        {"rule": "linear", "parameters": {}},
    ]


def test_a_grid_and_the_measured_cells_keep_the_loss():
    settings = config.load("smoke", folder=CONFIG)
    digits = settings["experiments"]["digits"]
    digits["methods"] += ["sgd+grid+gce", "sgd+hsac+gce"]
    cell = config.cell(settings, "digits", "sgd+grid+gce")
    assert config.candidates(settings, cell) == ["sgd+fixed@0.3+gce", "sgd+fixed@1+gce"]
    assert "sgd+fixed@1+gce" in [c["method"] for c in config.trained_cells(settings)]
    measured = [c["method"] for c in config.measured_cells(settings, "digits")]
    assert measured == ["sgd+fixed@0.3", "sgd+fixed@1", "sgd+hsac"]
    digits["reference"] = "sgd+hsac+gce"
    measured = [c["method"] for c in config.measured_cells(settings, "digits")]
    assert measured == ["sgd+fixed@0.3+gce", "sgd+fixed@1+gce", "sgd+hsac+gce"]


def test_a_cell_changes_only_with_what_decides_it():
    settings = config.load("smoke", folder=CONFIG)
    before = config.cell(settings, "digits", "sgd+hsac")["hash"]
    learned = config.cell(settings, "digits", "sgd+learned")["hash"]
    more = {**settings, "seeds": [0, 1, 2], "bundle": 3, "device": "cpu"}
    assert config.cell(more, "digits", "sgd+hsac")["hash"] == before
    rules = {
        **settings["rules"],
        "curvature": {**settings["rules"]["curvature"], "hsac": {"radius": 0.5}},
    }
    assert config.cell({**settings, "rules": rules}, "digits", "sgd+hsac")["hash"] != before
    assert config.cell({**settings, "rules": rules}, "digits", "sgd+learned")["hash"] == learned


def test_a_grid_trains_the_fixed_candidates_once():
    settings = config.load("smoke", folder=CONFIG)
    cell = config.cell(settings, "digits", "sgd+grid")
    assert config.candidates(settings, cell) == ["sgd+fixed@0.3", "sgd+fixed@1"]
    trained = [c["method"] for c in config.trained_cells(settings) if c["experiment"] == "digits"]
    assert sorted(trained) == sorted(set(trained))
    assert "sgd+fixed@1" in trained
    assert "sgd+grid" not in trained


def test_the_best_of_several_rules_chooses_among_methods():
    settings = config.load("smoke", folder=CONFIG)
    settings["rules"]["curvature"]["guarded"] = {"rule": "best_of", "among": ["fixed@0.3", "hsac"]}
    settings["experiments"]["digits"]["methods"] += ["sgd+guarded+gce"]
    cell = config.cell(settings, "digits", "sgd+guarded+gce")
    assert config.derived(cell)
    assert config.candidates(settings, cell) == ["sgd+fixed@0.3+gce", "sgd+hsac+gce"]
    trained = [c["method"] for c in config.trained_cells(settings)]
    assert "sgd+hsac+gce" in trained
    assert "sgd+guarded+gce" not in trained


@pytest.mark.parametrize(
    ("among", "words"),
    [
        (
            ["hsac", "grid"],
            "found 'grid', which is several trainings; allowed are rules that train once",
        ),
        (
            ["hsac", "guarded"],
            "found 'guarded', which is several trainings; allowed are rules that train once",
        ),
        (
            ["hsac", "random_search"],
            "found 'random_search', which is several trainings; allowed are rules that train once",
        ),
        (["hsca"], "found 'hsca'; curvature rules allowed are"),
        ([], "found []; allowed is a list of different curvature rules, as methods name them"),
        (
            [0.3],
            "found [0.3]; allowed is a list of different curvature rules, as methods name them",
        ),
        (
            ["hsac", "hsac"],
            "found ['hsac', 'hsac']; allowed is a list of different curvature rules",
        ),
        (["hsac+gce"], "found ['hsac+gce']; allowed is a list of different curvature rules"),
        ("hsac", "found 'hsac'; allowed is a list of different curvature rules"),
        (None, "found None; allowed is a list of different curvature rules"),
    ],
)
def test_the_best_of_several_rules_needs_rules_that_train_once(among, words):
    rules = config.load("smoke", folder=CONFIG)["rules"]
    rules["curvature"] |= {"guarded": {"rule": "best_of", "among": among}, "random_search": None}
    with pytest.raises(InputError) as caught:
        config.load(
            "smoke",
            changed(methods=["sgd+guarded", "sgd+fixed@0.3"]) | {"rules": rules},
            folder=CONFIG,
        )
    assert str(caught.value).startswith(f"rules.curvature.guarded.among: {words}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("among", "rule", "words"),
    [
        (["hsac", "fixed@99"], {}, "'sgd+fixed@99' starts at 99; allowed is 0.005 to 5"),
        (["mine"], {"rule": "hsac", "raduis": 1.0}, "raduis: found an unknown key"),
        (["mine"], {"rule": "hsca"}, "rules.curvature.mine: found 'hsca'"),
    ],
)
def test_what_is_only_chosen_among_is_checked_too(among, rule, words):
    rules = config.load("smoke", folder=CONFIG)["rules"]
    rules["curvature"] |= {"guarded": {"rule": "best_of", "among": among}, "mine": rule}
    with pytest.raises(InputError, match=re.escape(words)):
        config.load(
            "smoke",
            changed(methods=["sgd+guarded", "sgd+fixed@0.3"]) | {"rules": rules},
            folder=CONFIG,
        )


def test_the_best_of_several_rules_takes_no_start():
    rules = config.load("smoke", folder=CONFIG)["rules"]
    rules["curvature"]["guarded"] = {"rule": "best_of", "among": ["hsac"]}
    with pytest.raises(InputError, match="found 'sgd\\+guarded@1'; allowed is no start here"):
        config.load(
            "smoke",
            changed(methods=["sgd+guarded@1", "sgd+fixed@0.3"]) | {"rules": rules},
            folder=CONFIG,
        )


def test_a_choice_changes_with_what_it_is_chosen_among():
    settings = config.load("smoke", folder=CONFIG)
    curvature = settings["rules"]["curvature"]
    curvature["guarded"] = {"rule": "best_of", "among": ["fixed@0.3", "hsac"]}
    before = config.cell(settings, "digits", "sgd+guarded")["hash"]
    curvature["hsac"] = {"step": 0.5}
    assert config.cell(settings, "digits", "sgd+guarded")["hash"] != before


def test_lists_of_the_command_line_are_numbers_again():
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
    assert config.retyped(given) == wanted
    for text in ("@foo", "a: b: c", "{a", "no", "on", "yes"):
        assert config.retyped([text]) == [text]
    assert config.retyped(["true", "false"]) == [True, False]


def test_a_missing_top_level_key_is_named(tmp_path):
    whole = yaml.safe_load((CONFIG / "config.yaml").read_text())
    del whole["rules"]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(whole))
    with pytest.raises(InputError, match=r"config\.yaml: rules: found nothing"):
        config.load("default", folder=tmp_path)
