"""The coverage study: the true risk is right, the certificate holds, the control fails."""

import numpy as np
import pytest

from hsac.errors import InputError
from hsac.theory.studies import coverage
from hsac.theory.studies.coverage import CERTIFICATE, CONTROL, Coverage, true_risk

SMALL = Coverage(samples=60, points=(40,), deltas=(0.3,), draws=500)


@pytest.mark.parametrize("dimensions", [3, 20])
def test_true_risk_equals_simulation(dimensions: int) -> None:
    rng = np.random.default_rng(0)
    mean = rng.standard_normal((3, dimensions)) / np.sqrt(dimensions) + np.eye(dimensions)[0]
    sigma = np.array([0.05, 0.3, 1.5])
    found = true_risk(mean, sigma, 0.1)
    draws = 400_000
    for i in range(3):
        x, z = rng.standard_normal((draws, dimensions)), rng.standard_normal(draws)
        # w·x of weights drawn for this x
        output = x @ mean[i] + sigma[i] * np.linalg.norm(x, axis=1) * z
        wrong = (output > 0) != (x[:, 0] > 0)
        flipped = rng.random(draws) < 0.1
        assert found[i] == pytest.approx((wrong ^ flipped).mean(), abs=4 * 0.5 / np.sqrt(draws))


def test_true_risk_in_closed_form() -> None:
    """The true risk is the closed form's where there is one.

    σ → 0: the angle between the classifier and u over π; mean 0: one half; and the quadrature has
    converged.
    """
    angles = np.array([0.3, 1.2, 2.5])
    mean = np.zeros((3, 7))
    mean[:, 0], mean[:, 4] = np.cos(angles), np.sin(angles)
    np.testing.assert_allclose(true_risk(mean, np.full(3, 1e-9), 0.0), angles / np.pi, atol=2e-3)
    np.testing.assert_allclose(true_risk(0 * mean, np.full(3, 0.5), 0.2), 0.5, atol=1e-12)


def test_quadrature_has_converged(monkeypatch) -> None:
    """The quadrature has converged at the grid's smallest σ."""
    rng = np.random.default_rng(1)
    mean = rng.standard_normal((20, 20))
    mean /= np.linalg.norm(mean, axis=1, keepdims=True)
    sigma = np.full(20, min(coverage.SIGMAS) / max(coverage.ALPHAS))
    found = true_risk(mean, sigma, 0.1)
    monkeypatch.setattr(coverage, "QUADRATURE", (300, 5000))
    np.testing.assert_allclose(found, true_risk(mean, sigma, 0.1), atol=1e-5)


@pytest.fixture(scope="module")
def rows() -> dict[str, dict]:
    said = []
    found = SMALL.rows(said.append)
    assert said
    return {row["bound"]: row for row in found}


def test_certificate_holds_and_control_fails(rows) -> None:
    """Certificate holds and the control is caught."""
    assert rows[CERTIFICATE]["coverage_low"] >= 1 - 0.3
    assert rows[CONTROL]["coverage_high"] < 1 - 0.3
    assert (
        rows[CERTIFICATE]["mean_risk"]
        == rows[CONTROL]["mean_risk"]
        > rows[CONTROL]["mean_empirical"]
    )


def test_rows_are_plain_and_consistent(rows) -> None:
    for row in rows.values():
        assert all(type(value) in (int, float, str) for value in row.values())
        assert row["held"] == row["coverage"] * row["samples"]
        assert row["coverage_low"] <= row["coverage"] <= row["coverage_high"]
        assert row["margin_q05"] <= row["margin_q50"] <= row["margin_q95"]
        assert (row["margin_q05"] >= 0) <= (row["coverage"] >= 0.95)


def test_rows_repeat_themselves(rows) -> None:
    assert Coverage(samples=60, points=(40,), deltas=(0.3,), draws=500).rows(
        lambda _: None
    ) == list(rows.values())


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("samples", 0),
        ("points", ()),
        ("dimensions", 2),
        ("noise", 0.5),
        ("deltas", (0.0,)),
        ("deltas", ()),
    ],
)
def test_bad_parameters_are_named(parameter: str, value: object) -> None:
    with pytest.raises(InputError, match=parameter):
        Coverage(**{parameter: value})
