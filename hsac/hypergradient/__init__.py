"""Hypergradients by implicit differentiation: Hessian operator, solvers, the implicit gradient."""

from hsac.hypergradient.implicit import Hypergradient, implicit_hypergradient
from hsac.hypergradient.operator import HessianOperator, Loss
from hsac.hypergradient.solution import Solution, Solver, TrackingSolver

__all__ = [
    "HessianOperator",
    "Hypergradient",
    "Loss",
    "Solution",
    "Solver",
    "TrackingSolver",
    "implicit_hypergradient",
]
