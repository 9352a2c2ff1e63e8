"""The key `frozen`: what it may hold, who has it, and the jobs that it asks for."""

import copy
from itertools import pairwise

import pytest
from studies import CONFIG, keys_of, smoke, smoke_keys, unchecked

from hsac.errors import InputError
from hsac.ops.stale import stale_theory
from hsac.study import load
from hsac.study.frozen_checks import parameters, recipe_of, recipes
from hsac.study.graph import Graph

NET = {"dataset": "digits", "recipe": "backbone", "experiment": "digits", "method": "sgd+euclidean"}
EPISODES = {"recipe": "episodes", "way": 5, "shot": 1, "query": 5, "validation": 2, "test": 2}


def frozen(*place, **keys):
    """Return an override: the smoke scale's key `frozen` with keys at a place set anew."""
    made = smoke_keys("frozen")
    inner = made
    for key in place:
        inner = inner.setdefault(key, {})
    inner.update(keys)
    return {"frozen": made}


def on(name, **keys):
    """Return an override of the features or the problem of a name."""
    return frozen("problems" if name == "digits_clean" else "features", name, **keys)


def variant(**keys):
    return on("digits_clean", variant={"recipe": "plain"} | keys)


def few_shot(**keys):
    return on("digits_clean", setting="few_shot", variant=EPISODES | keys)


def refused(override):
    """Return the one line that says what is wrong with an override of the smoke scale."""
    with pytest.raises(InputError) as caught:
        smoke(override)
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith("the command line: frozen.")
    return line


NOISE = {"recipe": "label_noise", "kind": "human", "labels": "cifar10n"}
UNFIT = [
    (frozen("curvatures", high=0.01), ["curvatures.high", "0.01", "more than 0.01"]),
    (frozen("curvatures", points=1), ["curvatures.points", "1", "an integer from 2"]),
    (frozen(radii=[]), ["radii", "different numbers above 0"]),
    (frozen(radii=[0.1, 0.1]), ["radii", "different numbers above 0"]),
    (frozen(radii=[-1]), ["radii", "-1"]),
    (frozen(weight_decay=0), ["weight_decay", "0", "a number above 0"]),
    (frozen(features={}), ["features", "at least one"]),
    (frozen(problems={}), ["problems", "at least one"]),
    (frozen(raddi=1), ["raddi", "did you mean 'radii'"]),
    (on("digits_components", dataset="digts"), ["dataset", "did you mean 'digits'"]),
    (on("digits_components", recipe="pixls"), ["recipe", "did you mean 'pixels'"]),
    (on("digits_components", recipe="propagation"), ["takes graph", "of kind images"]),
    (on("digits_components", componets=3), ["componets", "did you mean 'components'"]),
    (on("more", dataset="digits", recipe="principal_components"), ["components: found nothing"]),
    (on("net", **NET | {"experiment": "digts"}), ["experiment", "did you mean 'digits'"]),
    (on("net", **NET | {"dataset": "glyphs"}), ["which is of digits", "one of glyphs"]),
    (on("net", **NET | {"method": "sgd+euclidian"}), ["did you mean 'sgd+euclidean'"]),
    (on("net", **NET | {"method": "sgd+fixed@0.3"}), ["method", "in flat space"]),
    (
        on("net", **NET | {"dataset": "glyphs100", "experiment": "glyphs_noisy"}),
        ["of recipe 'label_noise'", "plain or episodes"],
    ),
    (on("digits_clean", features="digits_component"), ["did you mean 'digits_components'"]),
    (on("digits_clean", seeds=0), ["seeds", "0", "an integer from 1"]),
    (on("digits_clean", dims=[0]), ["dims", "0", "an integer from 1"]),
    (on("digits_clean", dims=[]), ["dims", "different integers from 1"]),
    (on("digits_clean", test=0), ["test", "an integer from 1"]),
    (on("digits_clean", setting="noisy"), ["recipe: found 'plain'", "is label_noise"]),
    (on("digits_clean", setting="noisi"), ["setting", "'noisi'", "few_shot"]),
    (variant(validaton=0.5), ["variant.validaton", "did you mean 'validation'"]),
    (variant(draw=3), ["variant.draw", "found 3", "the seed is the draw"]),
    (variant(meta=3), ["variant.meta", "no meta set"]),
    (few_shot(train=9), ["variant.train", "found 9", "each episode alone"]),
    (few_shot(split="s.json"), ["variant.split", "'s.json'", "the dataset's classes"]),
    (few_shot(wey=9), ["variant.wey", "did you mean 'way'"]),
    (on("digits_clean", setting="noisy", variant=NOISE), ["kind", "'human'", "labels alone"]),
]


@pytest.mark.parametrize(("override", "words"), UNFIT)
def test_what_does_not_fit_is_told(override, words):
    line = refused(override)
    assert all(word in line for word in words), line


def test_settings_of_backbone_and_problem_agree():
    override = on("net", **NET)
    override["frozen"]["problems"]["few"] = {
        "setting": "few_shot",
        "features": "net",
        "variant": EPISODES,
        "dims": [2],
        "seeds": 1,
    }
    assert "both or none must be few_shot" in refused(override)


def test_searched_methods_are_no_backbones():
    search = {"points": 2, "seeds": [100]}
    digits = smoke_keys("experiments", "digits")
    methods = {"methods": ["sgd+euclidean", "sgd+hsac"], "reference": "sgd+hsac", "rules": {}}
    digits |= methods | {"informed": ["sgd+hsac"], "search": search}
    override = on("net", **NET) | {"experiments": {"digits": digits}}
    assert "not searched" in refused(override)


def test_rules_need_known_problems():
    rules = {"seeds": 1, "radius": 0.05, "starts": [0.1], "steps": 2}
    override = {"frozen": smoke_keys("frozen") | {"rules": rules | {"problems": ["digits_clan"]}}}
    line = refused(override)
    assert "frozen.rules.problems: found 'digits_clan'" in line
    assert "did you mean 'digits_clean'" in line
    override = few_shot()
    override["frozen"]["rules"] = rules | {"problems": ["digits_clean"]}
    assert "of setting few_shot" in refused(override)


def test_rules_are_followed_in_each_dimension():
    rules = {"seeds": 1, "radius": 0.05, "starts": [0.1], "steps": 2, "problems": ["digits_clean"]}
    study = smoke({"frozen": smoke_keys("frozen") | {"rules": rules}})
    assert study.frozen.followed() == [("digits_clean", 4)]
    jobs = {job.output: job for job in Graph(study).jobs}
    path = Graph(study).rules_file("hypergradients", "digits_clean", 4)
    assert jobs[path].beside == (Graph(study).rules_file("ends", "digits_clean", 4),)
    # the landscape does not depend on them
    assert study.frozen.options() == smoke().frozen.options()


def test_recipes_tell_their_parameters():
    assert parameters("propagation") == {"hops": True, "components": True, "test": True}
    assert parameters("pixels") == {}
    assert set(recipes()) >= {"backbone", "pixels"}


def test_curvatures_are_log_spaced():
    values = smoke().frozen.curvatures.values
    assert (values[0], values[-1], len(values)) == (0.01, 1.0, 3)
    ratios = [b / a for a, b in pairwise(values)]
    assert ratios == pytest.approx([ratios[0]] * 2)


def test_a_seed_is_the_draw():
    made = recipe_of(smoke().frozen.problems["digits_clean"])
    assert made == {"recipe": "plain", "validation": 0.5, "largest": 5}
    drawn = smoke(few_shot()).frozen.problems["digits_clean"]
    assert recipe_of(drawn) == EPISODES | {"train": 1}


def test_other_scales_do_not_inherit():
    """The default scale has frozen features, and only scales that give the key have it, too."""
    assert load.load("default", folder=CONFIG).frozen is not None
    assert [scale for scale in load.SCALES if "frozen" in keys_of(scale)] == [
        "smoke",
        "default",
        "frozen",
    ]
    assert "frozen" not in load.load("guard", {"seeds": [0]}, CONFIG).dump()
    given = frozen()
    assert load.load("guard", given, CONFIG).frozen.dump() == given["frozen"]


def test_none_is_no_job():
    without = Graph(smoke({"frozen": None}))
    keys = smoke_keys()
    del keys["frozen"]
    assert Graph(unchecked(keys)).jobs == without.jobs
    rules = {job.rule for job in Graph(smoke()).jobs} - {job.rule for job in without.jobs}
    assert rules == {"features", "landscape_over_c"}
    assert without.landscape_files == []


@pytest.fixture
def graph():
    """The smoke scale with features of a backbone beside its own, and a problem on them."""
    keys = smoke_keys()
    keys["frozen"]["features"]["net"] = NET
    one = copy.deepcopy(keys["frozen"]["problems"]["digits_clean"])
    keys["frozen"]["problems"]["net_clean"] = one | {"features": "net", "dims": [2, 3]}
    return Graph(smoke({"frozen": keys["frozen"]}))


def test_features_need_data_and_backbones(graph):
    jobs = {job.output: job for job in graph.jobs}
    own = jobs[graph.features_file("digits_components")]
    assert [path.parts[-2:] for path in own.needs] == [("digits", "manifest.json")]
    net = jobs[graph.features_file("net")]
    (index,) = graph.backbone_indexes("net")
    assert index in graph.by_index
    assert net.needs == (*own.needs, graph.variant("digits"), index)
    assert net.beside == (net.output.with_suffix(".json"),)


def test_landscapes_need_their_features(graph):
    jobs = {job.output: job for job in graph.jobs}
    for dim in (2, 3):
        made = jobs[graph.landscape_file("net_clean", dim)]
        assert made.needs == (graph.features_file("net"),)
    assert len(graph.landscape_files) == 3


def test_reports_need_every_landscape(graph):
    jobs = {job.output.name: job for job in graph.jobs if job.owner == "report"}
    for name in ("claims.json", "tables", "figures", "index.html"):
        assert set(graph.landscape_files) <= set(jobs[name].needs)


def test_changed_backbones_make_features_stale(graph, tmp_path):
    graph = Graph(graph.study, tmp_path)
    frozen = [graph.features_file(name) for name in ("digits_components", "net")]
    for path in (*graph.theory_files, *frozen):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert stale_theory(graph, []) == {}

    class Run:
        experiment, method, point = "digits", "sgd+euclidean", None

    found = stale_theory(graph, [Run])
    landscapes = {graph.landscape_file("net_clean", dim) for dim in (2, 3)}
    changed = {path for path in found if "frozen" in path.parts}
    assert changed == {graph.features_file("net"), *landscapes}
    frozen[0].unlink()
    assert stale_theory(graph, []) == {frozen[0]: "missing"}


def test_data_of_features_are_fetched():
    override = on("more", dataset="cora", recipe="propagation", hops=1, components=2, test=0.5)
    graph = Graph(smoke(override))
    assert "cora" in graph.datasets
    fetched = [job.output.parent.name for job in graph.jobs if job.rule == "fetch"]
    assert fetched.count("digits") == fetched.count("cora") == 1
