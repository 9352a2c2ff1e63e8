"""Beyond the form of its keys, the parts of a configuration must fit; a line says what does not."""

import re
import shutil

import pytest
import yaml
from searches import searching
from studies import CONFIG, smoke, smoke_keys, with_digits

from hsac.errors import InputError
from hsac.study import load, resolve

TRAINING = {"epochs": 1, "batch": 64, "weight_decay": 5e-4, "schedule": "cosine", "evaluations": 1}
NOISY, NOISE = {"setting": "noisy"}, {"name": "v", "recipe": "label_noise"}


def refused(override):
    """Return the one line that says what is wrong with an override of the smoke scale."""
    with pytest.raises(InputError) as caught:
        smoke(override)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("the command line: ")
    return str(caught.value)


def one(name, **keys):
    """Return an override that leaves one experiment of the smoke scale, with keys set anew."""
    return {"experiments": {name: smoke_keys("experiments", name) | keys}}


def few_shot(method):
    """Return an override with the few-shot experiment, which has one method more."""
    methods = smoke_keys("experiments", "glyphs_few_shot", "methods")
    return one("glyphs_few_shot", methods=[*methods, method])


def guarded(among, methods=("sgd+guarded", "sgd+fixed@0.3"), **rules):
    """Return an override with the rule `guarded`, the best of several, and more rules."""
    known = smoke_keys("rules")
    known["curvature"] |= {"guarded": {"rule": "best_of", "among": among}} | rules
    return with_digits(methods=list(methods)) | {"rules": known}


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
        ({"hypergradient": {"at": [1.0]}}, ["hypergradient.method", "found nothing"]),
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
    line = refused(with_digits(**keys))
    for word in ["digits", *words]:
        assert word in line


@pytest.mark.parametrize("name", ["disease", "glyphs_few_shot"])
def test_only_classified_images_are_augmented(name):
    line = refused(one(name, training=TRAINING | {"augment": "crop_flip"}))
    assert f"{name}.training.augment: found 'crop_flip'; allowed where images are" in line


def test_graphs_have_no_sampled_hypergradient():
    line = refused(one("disease", hypergradient={"method": "adam+hsac"}))
    words = "disease.hypergradient: found recipe 'node_split', whose batches are the whole"
    assert words in line


def test_a_studied_hypergradient_needs_options():
    """Options of an experiment's own stand over those of the theory, which have to be there."""
    theory = smoke_keys("theory")
    override = with_digits(hypergradient={"method": "sgd+hsac", "rows": 9})
    options = smoke(override).hypergradient_of("digits")
    assert options.dump() == theory["hypergradient"] | {"rows": 9}
    del theory["hypergradient"]
    line = refused(override | {"theory": theory})
    assert "theory.hypergradient: found nothing; experiments.digits.hyper" in line


def test_an_inherited_theory_blames_the_scale(tmp_path):
    """The scale's rules lack what the default's theory measures: all is told, and what helps."""
    shutil.copy(CONFIG / "config.yaml", tmp_path)
    default = load.load("default", folder=CONFIG).dump()
    curvature = {"fixed": default["rules"]["curvature"]["fixed"]}
    digits = smoke_keys("experiments", "digits") | {"methods": ["sgd+fixed@0.3"], "rules": {}}
    del digits["informed"]
    own = {"rules": default["rules"] | {"curvature": curvature}, "experiments": {"digits": digits}}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(own))
    with pytest.raises(InputError) as caught:
        load.load("own", folder=tmp_path)
    lacking = [rule for rule in default["theory"]["measured"] if rule != "fixed"]
    assert len(lacking) > 1
    assert str(caught.value) == (
        f"{tmp_path}/own.yaml: rules.curvature: found no {', '.join(lacking)}, which"
        f" theory.measured of {tmp_path}/config.yaml names; allowed are these rules, a `theory` of"
        " its own, or `theory: null` for none"
    )
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(own | {"theory": None}))
    assert load.load("own", folder=tmp_path).theory is None


def test_every_unknown_measured_rule_is_told():
    theory = smoke_keys("theory") | {"measured": ["fixd", "hsca"]}
    with pytest.raises(InputError) as caught:
        smoke({"theory": theory})
    first, second = str(caught.value).splitlines()
    assert "theory.measured: found 'fixd'; " in first
    assert "theory.measured: found 'hsca'; " in second


@pytest.mark.parametrize("key", ["informed", "hypergradient"])
def test_measurements_need_a_theory(key):
    asked = {"informed": ["sgd+hsac"], "hypergradient": {"method": "sgd+hsac"}}
    plain = {"informed": None, "hypergradient": None}
    keys = {**smoke_keys("experiments", "digits"), **plain, key: asked[key]}
    given = {name: value for name, value in keys.items() if value is not None}
    line = refused({"theory": None, "experiments": {"digits": given}})
    assert re.search(rf"theory\S*: found nothing; experiments\.digits\.{key}", line)


@pytest.mark.parametrize(
    ("name", "key"), [("digits", "informed"), ("glyphs_noisy", "hypergradient")]
)
def test_a_left_out_theory_is_named(tmp_path, name, key):
    """The line names the file whose experiment asks for it."""
    keys = smoke_keys() | {"experiments": {name: smoke_keys("experiments", name)}}
    for left_out in ("theory", "scale"):
        del keys[left_out]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(keys))
    with pytest.raises(InputError) as caught:
        load.load("default", folder=tmp_path)
    found = rf"{tmp_path}/config\.yaml: theory\S*: found nothing; experiments\.{name}\.{key} needs"
    assert re.match(found, str(caught.value))


@pytest.mark.parametrize("recipe", ["node_split", "public_split"])
def test_graphs_take_both_splits(recipe):
    variant = {"name": "v", "recipe": recipe, "without": [3]}
    study = smoke(one("disease", variant=variant))
    assert study.experiments["disease"].variant.dump() == variant


def test_loss_and_head_names_differ():
    """A loss and a head of one name could not be told apart in a method's name."""
    rules = smoke_keys("rules") | {"heads": {"focal": {"rule": "poincare_mlr"}}}
    line = refused({"rules": rules})
    assert line.startswith("the command line: rules.heads: found 'focal', which is a loss")


@pytest.mark.parametrize("loss", ["elr", "balanced_softmax", "ldam_drw"])
def test_losses_of_rows_refuse_episodes(loss):
    line = refused(few_shot(f"adam+hsac+{loss}"))
    assert f"'adam+hsac+{loss}', whose loss '{loss}' needs labelled training rows" in line
    smoke(few_shot("adam+hsac+focal"))


@pytest.mark.parametrize("loss", ["mixup", "crt"])
def test_losses_of_images_refuse_others(loss):
    rules = smoke_keys("rules")
    rules["losses"][loss] = None
    line = refused(few_shot(f"adam+hsac+{loss}") | {"rules": rules})
    assert f"'adam+hsac+{loss}', whose loss '{loss}' changes the batches; allowed where" in line


def test_learning_losses_need_a_meta_set():
    rules = smoke_keys("rules")
    rules["losses"]["meta_weight_net"] = None
    methods = ["sgd+fixed@0.3+meta_weight_net", "sgd+fixed@0.3"]
    line = refused(with_digits(methods=methods) | {"rules": rules})
    assert "variant.meta: found nothing, and 'sgd+fixed@0.3+meta_weight_net' draws from" in line


def test_meta_rules_need_a_meta_set():
    """A method that draws from a meta set is refused where the variant has none."""
    known = smoke_keys("rules")
    known["curvature"]["on_meta"] = {"rule": "hsac", "batch": "meta"}
    given = {"methods": ["sgd+on_meta", "sgd+fixed@0.3"]}
    plain = smoke_keys("experiments", "digits", "variant")
    words = "variant.meta: found nothing, and 'sgd+on_meta' draws from the meta set; allowed is"
    assert words in refused(with_digits(**given) | {"rules": known})
    for meta, wanted in ((0, False), (10, True)):
        override = with_digits(**given, variant=plain | {"meta": meta}) | {"rules": known}
        if wanted:
            assert smoke(override).experiments["digits"].variant.parameters["meta"] == meta
        else:
            assert words in refused(override)


def test_some_models_take_no_head():
    line = refused(few_shot("adam+hsac+linear"))
    assert "'adam+hsac+linear'; model 'conv4_protonet' takes no head" in line


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
def test_best_of_needs_single_trainings(among, words):
    line = refused(guarded(among, random_search=None))
    assert line.startswith(f"the command line: rules.curvature.guarded.among: {words}")


@pytest.mark.parametrize(
    ("among", "rule", "words"),
    [
        (["hsac", "fixed@99"], {}, "'sgd+fixed@99' starts at 99; allowed is 0.005 to 5"),
        (["mine"], {"rule": "hsac", "raduis": 1.0}, "raduis: found an unknown key"),
        (["mine"], {"rule": "hsca"}, "rules.curvature.mine: found 'hsca'"),
    ],
)
def test_candidates_are_checked_too(among, rule, words):
    """What is only chosen among, and is no method of its own, is checked like a method."""
    assert words in refused(guarded(among, mine=rule))


def test_best_of_takes_no_start():
    line = refused(guarded(["hsac"], methods=["sgd+guarded@1", "sgd+fixed@0.3"]))
    assert "found 'sgd+guarded@1'; allowed is no start here" in line


@pytest.mark.parametrize(
    ("search", "more", "words"),
    [
        ({"points": 2, "seeds": [5, 1]}, {}, ["search.seeds: found 1", "digits"]),
        (
            {"points": 2},
            {"digits": {"methods": ["sgd+fixed@0.3", "sgd+grid"]}},
            ["'sgd+grid'", "fixed_searched"],
        ),
        (
            {"points": 2},
            {"digits": {"methods": ["sgd+fixed@0.3", "sgd+random_search"]}},
            ["'random_search'"],
        ),
        (
            None,
            {"spaces": {"weights": {"sdg": {"lr": [0.1]}}}},
            ["spaces.weights: found 'sdg'", "'sgd'"],
        ),
        (
            None,
            {"spaces": {"weights": {"sgd": {"rl": [0.1]}}}},
            ["spaces.weights.sgd.rl", "momentum"],
        ),
        (
            None,
            {"spaces": {"weights": {"sgd": {"lr": [True]}}}},
            ["spaces.weights.sgd.lr: found True", "float"],
        ),
        (None, {"spaces": {"weights": {"sgd": {"lr": {"low": 2, "high": 1}}}}}, ["low below high"]),
        (None, {"spaces": {"weights": {"sgd": {"lr": []}}}}, ["spaces.weights.sgd.lr"]),
        (
            None,
            {"spaces": {"weights": {"sam": {"base_parameters.rl": [0.1]}}}},
            ["base_parameters.rl", "'sgd'"],
        ),
        (None, {"spaces": {"weights": {"sam": {"rho.lr": [0.1]}}}}, ["within 'rho'"]),
        (
            None,
            {"spaces": {"curvature": {"hsac": {"period": {"low": 1, "high": 9}}}}},
            ["hsac.period", "int"],
        ),
        (
            None,
            {"spaces": {"curvature": {"hsac": {"start": [0.3, 50]}}}},
            ["hsac.start: found 50", "0.005 to 5"],
        ),
        (None, {"spaces": {"curves": {}}}, ["spaces.curves", "curvature"]),
        ({"points": 0}, {}, ["search.points: found 0"]),
    ],
)
def test_unfair_searches_are_refused(search, more, words):
    """Each method has as many trials, of what its rules take, on seeds it is not judged by."""
    with pytest.raises(InputError) as error:
        searching(search, **more)
    assert "\n" not in str(error.value)
    assert all(word in str(error.value) for word in words), str(error.value)


def digits_with(methods, **top):
    """Return an override that leaves the digits with these methods and no theory, and top keys."""
    digits = with_digits(methods=methods, reference=methods[0])
    for key in ("informed", "hypergradient"):
        digits["experiments"]["digits"].pop(key, None)
    return digits | top


def digits_refused(methods, **top):
    """Return the one line that refuses methods of the digits, with top keys set anew."""
    return refused(digits_with(methods, **top))


@pytest.mark.parametrize(
    "start",
    [
        "0.30",
        ".3",
        "3e-1",
        " 0.3",
        "0.3 ",
        "0.3_0",
        "0.300000000000000000001",
        "٠.٣",
        "０.３",
    ],
)
def test_a_start_has_one_spelling(start):
    """Each names the same training, which would be trained and counted under several names."""
    line = digits_refused(["sgd+fixed@0.3", f"sgd+fixed@{start}"])
    assert line.endswith(f"found start {start!r} in 'sgd+fixed@{start}'; allowed is '0.3'")


@pytest.mark.parametrize("start", ["0.3", "1", "0.01", "1e-05", "0.31622776601683794", "3"])
def test_usual_starts_are_taken(start):
    curvature = smoke_keys("curvature") | {"bounds": [1e-6, 5]}
    study = smoke(digits_with([f"sgd+fixed@{start}", "sgd+hsac"], curvature=curvature))
    assert resolve.cell(study, "digits", f"sgd+fixed@{start}").config.curvature.start == float(
        start
    )


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("sgd+fixed@0.3", "sgd+fixed"),
        ("sgd+fixed@0.3", "sgd+still"),
        ("sgd+fixed@1", "sgd+fixed@1+cross_entropy"),
        ("sgd+fixed@1+focal+flat", "sgd+fixed@1+flat+focal"),
        ("sgd+fixed@1", "plain+fixed@1"),
    ],
)
def test_one_configuration_is_one_method(first, second):
    """Whatever its name, it would be trained, shown and tested twice."""
    rules = smoke_keys("rules")
    rules["curvature"]["still"] = {"rule": "fixed"}
    rules["weights"]["plain"] = {"rule": "sgd", **rules["weights"]["sgd"]}
    rules["losses"] = {"focal": None}
    rules["heads"] = {"flat": {"rule": "linear"}}
    line = digits_refused([first, second, "sgd+hsac"], rules=rules)
    assert f"experiments.digits.methods: found {first!r} and {second!r}, the same" in line


def test_integers_are_the_same_numbers():
    """The hash of a cell tells 1 from 1.0, a training does not."""
    curvature = smoke_keys("curvature") | {"start": 1}
    line = digits_refused(["sgd+fixed", "sgd+fixed@1"], curvature=curvature)
    assert "found 'sgd+fixed' and 'sgd+fixed@1', the same" in line


def test_a_search_tells_methods_apart():
    """One is searched and the other is not, until the search is off."""
    own = digits_with(["sgd+fixed@0.3", "sgd+fixed_searched"])
    study = smoke(own | {"search": {"points": 3}})
    assert len({cell.hash for cell in resolve.cells(study)}) == 2
    with pytest.raises(InputError, match=r"'sgd.fixed@0.3' and 'sgd.fixed_searched', the same"):
        smoke(own)


def test_a_method_has_one_name_everywhere():
    """Tables and claims join the experiments by the names of their methods."""
    digits = digits_with(["sgd+fixed@0.3", "sgd+hsac"])["experiments"]["digits"]
    other = digits | {"methods": ["sgd+fixed@0.3", "sgd+hsac+cross_entropy"]}
    line = refused({"experiments": {"digits": digits, "again": other}})
    words = "found 'sgd+hsac+cross_entropy', which is 'sgd+hsac' in digits"
    assert f"experiments.again.methods: {words}" in line


@pytest.mark.parametrize("rule", ["euclidean", "grid", "random_search", "halving"])
def test_unused_starts_are_refused(rule):
    """A rule that does not start from c would have as many names as there are numbers."""
    rules = smoke_keys("rules")
    rules["curvature"] |= {"random_search": {"points": 2}, "grid": None, "halving": None}
    line = digits_refused([f"sgd+{rule}@0.3", "sgd+fixed@0.3"], rules=rules)
    assert f"found start '0.3' in 'sgd+{rule}@0.3'; allowed is none" in line


@pytest.mark.parametrize(
    ("rule", "given", "name"),
    [
        ("ramp", {"to": 7.0}, "to"),
        ("halving", {"starts": [0.3, 7]}, "starts"),
        ("hsac_landscape", {"candidates": [0.3, 7]}, "candidates"),
    ],
)
def test_curvatures_of_rules_are_bounded(rule, given, name):
    """As the initial curvature is, before anything is trained."""
    rules = smoke_keys("rules")
    rules["curvature"][rule] = given
    line = digits_refused([f"sgd+{rule}", "sgd+fixed@0.3"], rules=rules)
    words = f"'sgd+{rule}' has 7 in {name!r} of its curvature rule; allowed is 0.005 to 5"
    assert f"experiments.digits.methods: {words}" in line


@pytest.mark.parametrize(
    ("curvatures", "words"),
    [
        ([0.3, 1.0, 1], "'sgd+grid' chooses among 'sgd+fixed@1' twice"),
        ([0.1, 0.1], "'sgd+grid' chooses among 'sgd+fixed@0.1' twice"),
        ([], "'sgd+grid' chooses among nothing"),
    ],
)
def test_grids_hold_different_curvatures(curvatures, words):
    own = {"curvature": {"grid": {"curvatures": curvatures}}}
    override = digits_with(["sgd+grid", "sgd+fixed@0.3"])
    override["experiments"]["digits"]["rules"] = own
    line = refused(override)
    key = "experiments.digits.rules.curvature.grid"
    assert line.startswith(f"the command line: {key}: {words}")
    override["experiments"]["digits"]["rules"] = {}
    rules = smoke_keys("rules")
    rules["curvature"] |= own["curvature"]
    line = refused(override | {"rules": rules})
    assert line.startswith(f"the command line: rules.curvature.grid: {words}")


def test_best_of_chooses_among_different_trainings():
    line = refused(guarded(["fixed@0.3", "still"], still={"rule": "fixed"}))
    assert "chooses among 'sgd+fixed@0.3' and 'sgd+still', the same" in line
