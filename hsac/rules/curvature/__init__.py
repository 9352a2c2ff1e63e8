"""Curvature rules, one file each: `init(theta) -> state`, `update(theta, state, step) -> (theta,
state, log)`.

`geometry` is `euclidean` where the rule means no hyperbolic space at all, `needs_gradient` where it
reads the training loss's own gradient, `derived` where its run is chosen among other methods' runs
and nothing is trained, `searches` where its run is chosen among several trainings of its own
(`hsac.rules.types.SearchingRule`).
"""
