"""Bi-level problems whose hypergradient is known, one file each.

Their interface is `hsac.theory.ground_truth.Problem`.
"""
