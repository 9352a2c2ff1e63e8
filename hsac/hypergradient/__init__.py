"""Hypergradients by implicit differentiation: Hessian operator, solvers, the implicit gradient."""

from hsac.hypergradient.implicit import Hypergradient, implicit_hypergradient
from hsac.hypergradient.operator import HessianOperator
from hsac.hypergradient.solution import Solution, Solver

__all__ = ["HessianOperator", "Hypergradient", "Solution", "Solver", "implicit_hypergradient"]
