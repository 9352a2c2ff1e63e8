import numpy as np
import torch
from scipy.optimize import minimize as scipy_minimise

from hsac.frozen.branches import log_c
from hsac.frozen.head import HeadProblem
from hsac.hypergradient.minimum import minimise
from hsac.hypergradient.operator import HessianOperator


def test_solved_heads_agree_with_others(splits):
    problem = HeadProblem(splits.train, 3, 2, 0.2)
    w, theta = problem.start(0), log_c(problem, 0.5)
    found = minimise(problem, w, theta, 1e-9)
    assert (found.gradient <= 1e-9).all()

    for run in range(3):
        one = problem.take(torch.tensor([run]))

        def objective(v: np.ndarray, one: HeadProblem = one) -> tuple[float, np.ndarray]:
            at = torch.from_numpy(v)[None].requires_grad_()
            value = one.objective(at, theta[:1])
            return value.item(), torch.autograd.grad(value.sum(), at)[0][0].numpy()

        def product(v: np.ndarray, p: np.ndarray, one: HeadProblem = one) -> np.ndarray:
            at = torch.from_numpy(v)[None].requires_grad_()
            hessian = HessianOperator(one.objective, at, theta[:1].clone().requires_grad_())
            return hessian(torch.from_numpy(p)[None])[0].detach().numpy()

        # from nearby they go to the very same minimum
        start = found.w[run].numpy() + 1e-3
        quasi = {"gtol": 1e-10, "ftol": 0.0, "maxiter": 5000}
        other = scipy_minimise(objective, start, jac=True, method="L-BFGS-B", options=quasi)
        assert abs(other.fun - found.value[run].item()) < 1e-10
        second = scipy_minimise(
            objective, start, jac=True, hessp=product, method="trust-ncg", options={"gtol": 1e-9}
        )
        assert abs(second.fun - found.value[run].item()) < 1e-10


def test_problem_does_not_see_others(splits):
    problem = HeadProblem(splits.train, 3, 2, 0.2)
    together = minimise(problem, problem.start(0), log_c(problem, 0.5), 1e-8)
    alone = problem.take(torch.tensor([1]))
    single = minimise(alone, alone.start(0), log_c(alone, 0.5), 1e-8)
    # The sums of a batched product may be taken in another order.
    assert torch.allclose(single.value[0], together.value[1], atol=1e-10)


def test_steps_run_out_honestly(splits):
    problem = HeadProblem(splits.train, 3, 2, 0.2)
    found = minimise(problem, problem.start(0), log_c(problem, 0.5), 1e-12, steps=3)
    assert (found.gradient > 1e-12).all()
    assert torch.equal(found.value, problem.objective(found.w, log_c(problem, 0.5)))


def test_nan_ends_the_descent(splits):
    problem = HeadProblem(splits.train, 3, 2, 0.2)
    w = problem.start(0)
    w[1] = torch.nan
    found = minimise(problem, w, log_c(problem, 0.5), 1e-8)
    assert found.gradient[1].isnan()
    assert (found.gradient[[0, 2]] <= 1e-8).all()
