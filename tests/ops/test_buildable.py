"""Values that only a part's class can judge, judged before anything is trained."""

import json

import pytest
from studies import CONFIG, changed, smoke, smoke_keys, with_digits

from hsac import cli, plugins
from hsac.errors import InputError
from hsac.ops import buildable
from hsac.study import load


def refused(override) -> list[str]:
    """The lines about a study that is loaded without a word."""
    study = smoke(override)
    with pytest.raises(InputError) as error:
        buildable.check(study)
    return str(error.value).splitlines()


@pytest.mark.parametrize("scale", load.SCALES)
def test_shipped_scales_are_buildable(scale):
    buildable.check(load.load(scale, folder=CONFIG))


@pytest.mark.parametrize(
    ("place", "value", "line"),
    [
        ("curvature.hsac.shared", "leveles", "'leveles'; allowed is none, adversary, levels"),
        ("curvature.hsac.radius", -1, "-1; allowed is a number above 0"),
        ("curvature.hsac.solver.terms", -1, "-1; allowed is an integer from 0"),
        ("weights.sgd.lr", -1, "-1; allowed is a number above 0"),
        ("losses.ldam_drw.beta", 1.0, "1.0; allowed is a number in [0, 1)"),
        ("heads.linear.scale", "big", "'big'; allowed is fixed or learned"),
    ],
)
def test_values_of_rules_are_refused(place, value, line):
    kind, name, *inner = place.split(".")
    given = {inner[-1]: value}
    if inner[1:]:
        given = {"solver": {"name": "neumann", **given}}
    rules = changed(smoke_keys("rules"), kind, name, value=given)
    methods = ["sgd+fixed", "sgd+hsac", "sgd+fixed+ldam_drw", "sgd+fixed+linear"]
    override = with_digits(methods=methods, reference="sgd+fixed") | {"rules": rules}
    assert refused(override) == [f"rules.{place}: found {line}"]


@pytest.mark.parametrize(("dim", "most"), [(4, 2), (3, 1)])
def test_heads_get_their_models_dimension(dim, most):
    """A product of three factors takes six dimensions, and the model has fewer."""
    rules = changed(smoke_keys("rules"), "heads", "product_mlr", value={"signs": [-1, -1, 1]})
    methods = ["sgd+fixed", "sgd+fixed+product_mlr"]
    model = {"name": "mlp", "hidden": 8, "dim": dim}
    override = with_digits(methods=methods, reference="sgd+fixed", model=model) | {"rules": rules}
    (line,) = refused(override)
    assert line.startswith("rules.heads.product_mlr.signs: found [-1, -1, 1]; allowed is a list")
    assert line.endswith(f"at most {most} where features have {dim} dimensions")
    model["dim"] = 6
    buildable.check(smoke(override))


def test_own_rules_name_their_experiment():
    override = with_digits(rules={"curvature": {"hsac": {"radius": -1}}})
    line = "rules.curvature.hsac.radius: found -1; allowed is a number above 0"
    assert refused(override) == [f"experiments.digits.{line}"]


def test_drawn_values_name_their_space():
    override = with_digits(
        methods=["sgd+fixed"],
        reference="sgd+fixed",
        spaces={"weights": {"sgd": {"lr": [-1]}}},
        search={"points": 3},
    )
    line = "spaces.weights.sgd.lr: found -1; allowed is a number above 0"
    assert refused(override) == [line]


@pytest.mark.parametrize(
    ("study", "parameter", "value", "line"),
    [
        ("inexactness", "problems", ["no"], "found 'no'; problems allowed are"),
        ("convergence", "terms", [-1], "found (-1,); allowed is integers from 0"),
        ("lipschitz", "high", 0.0, "found 0.0; allowed is a number above low"),
    ],
)
def test_values_of_studies_are_refused(study, parameter, value, line):
    theory = changed(smoke_keys("theory"), "studies", study, value={parameter: value})
    (found,) = refused({"theory": theory})
    assert found.startswith(f"theory.studies.{study}.{parameter}: {line}")


def test_values_of_models_are_refused():
    assert refused(with_digits(model={"name": "hnn", "pool": 9})) == [
        "experiments.digits.model.pool: found 9; allowed is at most the image's side, 8"
    ]
    # 2**blocks would take for ever.
    (line,) = refused(with_digits(model={"name": "cnn", "blocks": 10**15}))
    assert line.startswith("experiments.digits.model.inputs: found (8, 8); allowed is images of")


def test_values_of_noise_are_refused():
    noisy = smoke_keys("experiments", "glyphs_noisy")
    noisy["variant"] |= {"kind": "instance", "rate": 2.0}
    assert refused({"experiments": {"noisy": noisy}}) == [
        "experiments.noisy.variant.rate: found 2.0; allowed is a number from 0.1 to 0.9"
    ]


def test_every_part_is_told():
    rules = changed(smoke_keys("rules"), "curvature", "hsac", value={"radius": -1})
    rules["weights"]["sgd"] = {"lr": -1}
    assert len(refused({"rules": rules})) == 2


def test_exceptions_of_plugins_are_lines(tmp_path):
    """What a class raises is told with the place in its file."""
    folder = tmp_path / "mine"
    (folder / "losses").mkdir(parents=True)
    (folder / "losses" / "odd.py").write_text(
        "from dataclasses import dataclass\nfrom hsac.losses.types import TrainingLoss\n\n\n"
        "@dataclass(frozen=True)\nclass Odd(TrainingLoss):\n    gamma: float = 0.0\n\n"
        "    def __post_init__(self):\n        1 / self.gamma\n"
    )
    rules = changed(smoke_keys("rules"), "losses", "odd", value=None)
    override = with_digits(methods=["sgd+fixed+odd"], reference="sgd+fixed+odd")
    override |= {"rules": rules, "plugins": [str(folder)]}
    study = smoke(override)
    with plugins.using(study.plugins), pytest.raises(InputError) as error:
        buildable.check(study)
    line = "rules.losses.odd: building it raised ZeroDivisionError: float division by zero"
    assert str(error.value) == f"{line} ({folder}/losses/odd.py, line 10)"


@pytest.mark.parametrize("words", [["plan"], ["job", "settings", "--output", "made.json"]])
def test_commands_refuse_before_training(words, tmp_path, monkeypatch, capsys):
    (tmp_path / "config").symlink_to(CONFIG)
    monkeypatch.chdir(tmp_path)
    theory = changed(smoke_keys("theory"), "studies", value={"inexactness": {"steps": 0}})
    override = json.dumps({"theory": theory})
    assert cli.main([*words, "--scale", "smoke", "--override", override]) == 2
    line = "theory.studies.inexactness.steps: found 0; allowed is an integer from 1"
    assert capsys.readouterr().err == f"hsac: {line}\n"
    assert not (tmp_path / "made.json").exists()
