"""Hypergradients by implicit differentiation.

`HessianOperator` gives products with the Hessian of the lower level, a solver solves H x = v with
them, and `implicit_hypergradient` puts the hypergradient together. Solvers are found by their file
in `hsac/hypergradient/solvers`.
"""

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
