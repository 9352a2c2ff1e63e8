"""Searches are alike for all methods: as many points, the same ones where rules are shared, chosen
on validation.
"""

import copy
import math
from pathlib import Path

import pytest
from finished_runs import finish, finish_points

from hsac import config, layout, spaces, tuning
from hsac.errors import InputError
from hsac.files import read_json, write_json
from hsac.ops import stale

CONFIG = Path(__file__).parents[2] / "config"
METHODS = [
    "sgd+euclidean",
    "sgd+fixed@0.3",
    "sgd+fixed_searched",
    "sgd+hsac",
    "sgd+hsac_cg",
    "sam+hsac",
]


def load(search=None, **more):
    """The smoke scale's digits, with methods that search."""
    digits = config.load("smoke", folder=CONFIG)["experiments"]["digits"] | {
        "methods": METHODS,
        "rules": {},
    }
    rules = copy.deepcopy(config.load("smoke", folder=CONFIG)["rules"])
    rules["curvature"]["hsac_cg"] = {"rule": "hsac", "solver": {"name": "cg"}}
    override = {
        "search": search,
        "rules": rules,
        "experiments": {"digits": digits | more.pop("digits", {})},
    }
    return config.load("smoke", override | more, folder=CONFIG)


def points(settings, method, experiment="digits"):
    return config.cell(settings, experiment, method)["config"]["search"]["points"]


def test_without_a_search_a_method_is_its_configured_point():
    settings = load()
    cells = config.trained_cells(settings)
    assert [cell["method"] for cell in cells] == METHODS
    assert not any(config.searched(cell) or config.point_cells(settings, cell) for cell in cells)


def test_every_method_tries_as_many_points_and_starts_from_the_configured_one():
    plain, settings = load(), load({"points": 5})
    for cell in config.cells(settings):
        tried = config.point_cells(settings, cell)
        assert len(tried) == len(points(settings, cell["method"])) == 5
        assert tried[0]["hash"] == config.cell(plain, "digits", cell["method"])["hash"]
        assert config.cell_seeds(settings, cell) == [0, 1]
        assert all(config.cell_seeds(settings, one) == [100, 101, 102] for one in tried)


def test_methods_that_share_a_rule_try_the_same_values_of_it():
    settings = load({"points": 6})

    def values(method, kind):
        return [
            {k: v for k, v in point.items() if k.startswith(kind)}
            for point in points(settings, method)
        ]

    plain = values("sgd+euclidean", "weights")
    assert all(values(method, "weights") == plain for method in METHODS[:-1])
    assert len({point.get("weights.lr") for point in plain}) == 6
    # an alias without a space of its own tries what the rule it is an alias of tries
    assert (
        values("sgd+hsac_cg", "curvature")
        == values("sgd+hsac", "curvature")
        == values("sam+hsac", "curvature")
    )
    assert values("sgd+hsac_cg", "curvature")[1].keys() == {"curvature.radius", "curvature.start"}


def test_a_start_in_the_methods_name_is_not_searched():
    settings = load({"points": 3}, digits={"methods": ["sgd+fixed@0.3", "sgd+hsac@1", "sgd+hsac"]})
    for one in config.point_cells(settings, config.cell(settings, "digits", "sgd+hsac@1")):
        assert one["config"]["curvature"]["start"] == 1
    tried = config.point_cells(settings, config.cell(settings, "digits", "sgd+hsac"))
    starts = [one["config"]["curvature"]["start"] for one in tried]
    assert starts[0] == 0.3
    assert len(set(starts)) == 3
    assert len({one["config"]["rule"]["parameters"].get("radius") for one in tried}) == 3


def test_a_point_keeps_its_values_when_points_are_added_and_changes_with_the_draw():
    searches = ({"points": 3}, {"points": 9}, {"points": 3, "draw": 1})
    few, many, other = (points(load(search), "sgd+hsac") for search in searches)
    assert many[:3] == few
    assert other[0] == few[0] == {}
    assert other[1] != few[1]


def test_drawn_values_are_of_the_space():
    drawn = [spaces.value({"low": 0.01, "high": 0.3}, k, 0) for k in range(300)]
    assert all(0.01 <= one <= 0.3 and one == float(f"{one:.3g}") for one in drawn)
    assert (
        0.4 < sum(one < (0.01 * 0.3) ** 0.5 for one in drawn) / 300 < 0.6
    )  # log-uniform: half below the middle
    listed = [spaces.value([1, 2, 4], k, 0) for k in range(300)]
    assert all(70 < listed.count(one) < 130 for one in (1, 2, 4))


def test_few_points_do_not_cluster():
    for key in range(20):
        assert len({spaces.value([1, 2, 3, 4], k, key) for k in range(4)}) == 4
        shares = sorted(
            math.log(spaces.value({"low": 1.0, "high": 1e8}, k, key)) / math.log(1e8)
            for k in range(8)
        )
        assert all(k / 8 - 1e-3 <= share <= (k + 1) / 8 + 1e-3 for k, share in enumerate(shares))


def test_nested_parameters_losses_and_heads_are_replaced():
    given = {
        "weights": {"sam": {"base_parameters.lr": [0.5]}},
        "losses": {"focal": {"gamma": [7.5]}},
        "heads": {"linear_scaled": {"scale": ["learned"]}},
        "curvature": {"hsac": {"solver.terms": [9]}},
    }
    rules = copy.deepcopy(config.load("smoke", folder=CONFIG)["rules"])
    rules["curvature"]["hsac"] = {"solver": {"name": "neumann", "terms": 2}}
    methods = ["sgd+fixed@0.3", "sam+hsac+focal+linear_scaled"]
    settings = load({"points": 2}, spaces=given, rules=rules, digits={"methods": methods})
    before, after = (config.cell(settings, "digits", methods[1], k)["config"] for k in range(2))
    assert after["weights"]["parameters"]["base_parameters"] == {"lr": 0.5, "momentum": 0.9}
    assert before["weights"]["parameters"]["base_parameters"]["lr"] == 0.03
    assert after["loss"]["parameters"] == {"gamma": 7.5}
    assert after["rule"]["parameters"]["solver"] == {"name": "neumann", "terms": 9}
    names = config.named_parts(settings, "digits", methods[1])
    said = spaces.text(points(settings, methods[1])[1], names)
    assert (
        said == "sam.base_parameters.lr=0.5, hsac.solver.terms=9, focal.gamma=7.5,"
        " linear_scaled.scale=learned"
    )


def test_an_experiments_own_search_and_spaces():
    own = {
        "search": {"points": 2, "seeds": [7]},
        "spaces": {"weights": {"sgd": {"lr": [0.125], "momentum": [0.5]}}},
    }
    settings = load(digits=own)
    assert points(settings, "sgd+fixed@0.3") == [{}, {"weights.lr": 0.125, "weights.momentum": 0.5}]
    assert load({"points": 4}, digits={"search": None})["search"] == {"points": 4}
    assert not any(map(config.searched, config.cells(load({"points": 4}, digits={"search": None}))))


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
def test_what_cannot_be_searched_fairly_is_refused(search, more, words):
    with pytest.raises(InputError) as error:
        load(search, **more)
    assert all(word in str(error.value) for word in words), str(error.value)


def record(cell, seed, score, **more):
    selected = {"validation_accuracy": score, "test_accuracy": 0.5, "validation_nll": 1.0}
    return {
        "experiment": "digits", "method": cell["method"], "seed": seed, "status": "ok", "config_hash": cell["hash"],
        "metrics": {"selected": selected, "oracle": selected}, "selected_by": "validation_accuracy",
        "gradients": 10, "products": 2, "seconds": 0.1,
    } | more  # fmt: skip


@pytest.fixture
def searched():
    """Settings, a searched cell, and records of its points: the third is best on validation."""
    settings = load({"points": 4, "seeds": [100, 101]})
    cell = config.cell(settings, "digits", "sgd+hsac")
    scores = [(0.5, 0.6), (0.7, 0.4), (0.6, 0.7), (0.6, 0.7)]
    tried = config.point_cells(settings, cell)
    found = {}
    for one, pair in zip(tried, scores, strict=True):
        found[one["hash"]] = [
            record(one, seed, score) for seed, score in zip((100, 101), pair, strict=True)
        ]
    return settings, cell, found


def test_the_best_mean_on_validation_is_chosen_and_ties_go_to_the_first(searched):
    settings, cell, found = searched
    made = tuning.outcome(settings, cell, found)
    assert made["chosen"] == 2
    assert [round(point["score"], 9) for point in made["points"]] == [0.55, 0.55, 0.65, 0.65]
    assert made["cost"] == {"gradients": 80, "products": 16, "seconds": pytest.approx(0.8)}
    assert tuning.trained(settings, cell, made)["hash"] == made["points"][2]["config_hash"]
    said = tuning.told(settings, cell, made)
    assert said["tried"] == 4
    assert said["chosen"].startswith("sgd.lr=")
    assert "hsac.start=" in said["chosen"]


def test_nothing_of_test_decides(searched):
    settings, cell, found = searched
    before = tuning.outcome(settings, cell, found)
    for number, records in enumerate(found.values()):
        for one in records:
            for kind in ("selected", "oracle"):
                one["metrics"][kind]["test_accuracy"] = 1.0 - number / 4
    assert tuning.outcome(settings, cell, found) == before


def test_a_run_that_failed_counts_as_worst(searched):
    settings, cell, found = searched
    best = list(found.values())[2]
    best[0] |= {"status": "diverged"}
    best[1] |= {"status": "diverged", "metrics": None, "gradients": None, "products": None}
    made = tuning.outcome(settings, cell, found)
    assert made["chosen"] == 3
    assert made["points"][2]["score"] == 0
    assert made["points"][2]["failed"] == 2
    assert made["cost"]["gradients"] == 70


def test_a_run_that_says_nothing_of_the_method_does_not_choose(searched):
    settings, cell, found = searched
    list(found.values())[2][0] |= {"status": "timeout", "reason": "stopped after step 3 of 9"}
    with pytest.raises(
        InputError, match=r"point 2, seed 100: found timeout .*; a search needs runs that are ok or"
    ):
        tuning.outcome(settings, cell, found)


def test_equal_accuracies_are_told_apart_by_nll(searched):
    settings, cell, found = searched
    for number, records in enumerate(found.values()):
        for one in records:
            one["metrics"]["selected"] |= {
                "validation_accuracy": 0.5,
                "validation_nll": [3.0, 1.0, 2.0, 1.0][number],
            }
    assert tuning.outcome(settings, cell, found)["chosen"] == 1


def test_a_point_that_lacks_a_seed_is_no_search(searched):
    settings, cell, found = searched
    next(iter(found.values())).pop()
    with pytest.raises(InputError, match="point 0: found runs of the seeds"):
        tuning.outcome(settings, cell, found)


def test_points_that_came_out_alike_count_and_are_trained_once():
    settings = load({"points": 8}, spaces={"weights": {"sgd": {"lr": [0.01, 0.1]}}})
    cell = config.cell(settings, "digits", "sgd+euclidean")
    trained = [c for c in config.trained_cells(settings) if c["method"] == "sgd+euclidean"]
    assert len(config.point_cells(settings, cell)) == 8
    assert len(trained) == 4  # the configured point, two others, and the searched cell
    found = {one["hash"]: [record(one, s, 0.5) for s in (100, 101, 102)] for one in trained[:-1]}
    made = tuning.outcome(settings, cell, found)
    assert tuning.told(settings, cell, made)["tried"] == 8
    assert tuning.told(settings, cell, made)["tuning"]["different"] == 3
    assert made["cost"]["gradients"] == 90


def of_one(cell, score):
    """What the records of a point's cell say beside what `finish` writes."""
    return {
        key: value
        for key, value in record(cell, 100, score).items()
        if key not in ("seed", "seconds")
    }


@pytest.fixture
def results(tmp_path, monkeypatch):
    """A results folder where everything that a search of two methods needs is finished."""
    monkeypatch.setenv("HSAC_DATA", str(tmp_path / "data"))
    settings = load(
        {"points": 3, "seeds": [100]}, digits={"methods": ["sgd+fixed@0.3", "sgd+hsac"]}
    )
    results = tmp_path / "results"
    write_json(layout.variant_path(settings["experiments"]["digits"]), {"hash": "variant"})
    for cell in config.cells(settings):
        finish_points(settings, results, cell, lambda one: of_one(one, 0.5))
        indexes = [*layout.point_bundles(settings, results, cell)]
        tuning.tune(settings, cell, indexes, layout.point_path(results, cell))
        point = tuning.read_point(layout.point_path(results, cell), cell)
        of = tuning.trained(settings, cell, point)
        said = tuning.told(settings, cell, point) | {
            "config": of["config"],
            "config_hash": of["hash"],
        }
        finish(settings, results, cell, **said)
    return settings, results


def test_stale_knows_points_and_their_choice(results):
    settings, results = results
    assert not stale.stale_runs(settings, results)
    cell = config.cell(settings, "digits", "sgd+hsac")
    point = (
        layout.index_path(results, config.cell(settings, "digits", "sgd+hsac", 2), 0).parent
        / "seed100.json"
    )
    point.unlink()
    assert [
        (run.method, run.point, run.seed, run.reason) for run in stale.stale_runs(settings, results)
    ] == [("sgd+hsac", 2, 100, "never run")]
    assert any(
        "sgd+hsac point 2 seeds 100: never run" in line for line in stale.report(settings, results)
    )
    path = layout.point_path(results, cell)
    write_json(path, read_json(path) | {"chosen": 1})
    found = [run for run in stale.stale_runs(settings, results) if run.point is None]
    assert [(run.seed, run.reason) for run in found] == [
        (0, "configuration changed"),
        (1, "configuration changed"),
    ]
    path.unlink()  # chosen again; as before, for all that is known
    assert not [run for run in stale.stale_runs(settings, results) if run.point is None]


def test_stale_knows_an_edited_record_of_a_point(results):
    settings, results = results
    edited = (
        layout.index_path(results, config.cell(settings, "digits", "sgd+hsac", 1), 0).parent
        / "seed100.json"
    )
    write_json(edited, read_json(edited) | {"seconds": 1.0})
    (run,) = stale.stale_runs(settings, results)
    assert (run.method, run.point) == ("sgd+hsac", 1)
    assert run.reason.startswith("record edited")


@pytest.mark.parametrize(
    ("bundle", "numbers"),
    [
        (1, [([k], [seed]) for seed in (8, 9, 10) for k in range(4)]),  # a job a run
        (
            5,
            [([0, 1], [8, 9]), ([2, 3], [8, 9]), ([0, 1, 2, 3], [10])],
        ),  # the seeds of a block stay together
        (10, [([0, 1, 2, 3], [8, 9]), ([0, 1, 2, 3], [10])]),
    ],
)
def test_points_are_bundled_by_runs_a_job(bundle, numbers):
    settings = load({"points": 4, "seeds": [8, 9, 10]}) | {"bundle": bundle}
    cell = config.cell(settings, "digits", "sgd+hsac")
    found = layout.point_bundles(settings, Path("results"), cell)
    assert [
        ([one["point"] for one in points], seeds) for points, seeds in found.values()
    ] == numbers
    assert [path.name for path in found] == [f"points{k}.json" for k in range(len(numbers))]
    assert {path.parent for path in found} == {layout.point_path(Path("results"), cell).parent}


def test_points_that_came_out_alike_are_in_one_bundle_only():
    settings = load({"points": 8}, spaces={"weights": {"sgd": {"lr": [0.01, 0.1]}}}) | {"bundle": 4}
    found = layout.point_bundles(
        settings, Path("results"), config.cell(settings, "digits", "sgd+euclidean")
    )
    assert len({one["hash"] for points, _ in found.values() for one in points}) == len(found) == 3


def test_an_index_of_points_names_records_in_their_folders(results):
    settings, results = results
    cell = config.cell(settings, "digits", "sgd+hsac")
    (index,) = layout.point_bundles(settings, results, cell)
    folders = [
        layout.index_path(results, one, 0).parent for one in config.point_cells(settings, cell)
    ]
    assert [path for path, _ in tuning.read_records(index)] == [
        folder / "seed100.json" for folder in folders
    ]
    (folders[1] / "seed100.json").write_text("{}")
    with pytest.raises(InputError, match="edited or damaged since its run"):
        tuning.tune(settings, cell, [index], layout.point_path(results, cell))


def test_a_choice_that_the_search_does_not_make_is_refused(results):
    settings, results = results
    tuning.check(settings, results, tuning.read_records)
    cell = config.cell(settings, "digits", "sgd+hsac")
    finish_points(
        settings, results, cell, lambda one: of_one(one, 0.9 if one["point"] == 1 else 0.5)
    )
    with pytest.raises(
        InputError,
        match=r"trained at 'as configured' of 3 points; the runs of the search choose 'sgd.lr",
    ):
        tuning.check(settings, results, tuning.read_records)
    assert cell["hash"] in str(layout.point_path(results, cell))


def test_a_point_in_words_does_not_depend_on_how_it_was_stored():
    names = {"weights": "sgd", "curvature": "hsac"}
    point = {"curvature.start": 0.3, "weights.momentum": 0.9, "weights.lr": 0.05}
    for stored in (point, dict(sorted(point.items())), dict(reversed(point.items()))):
        assert spaces.text(stored, names) == "sgd.lr=0.05, sgd.momentum=0.9, hsac.start=0.3"
