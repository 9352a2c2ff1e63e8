"""Training as a pure function of (weights, curvature, state, batch), for one seed or several.

Everything here computes. `bundle.train_seeds` is the entry: from a cell, seeds, a variant and
arrays to results. What touches disk, clock and machine is in `hsac.ops.runner`. The one exception
is `inputs`, which reads a training's inputs from disk. Nothing that computes imports it.
"""
