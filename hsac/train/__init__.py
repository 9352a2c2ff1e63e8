"""Training as a pure function of (weights, curvature, state, batch), for one seed or several.

Everything here computes. `bundle.train_seeds` is the entry: from a cell, seeds, a variant and
arrays to results. It reads no file, and the clock only for the time limit. Disk, timing and machine
are the work of `hsac.ops.runner`. The one exception is `inputs`, which reads a training's inputs
from disk. Nothing that computes imports it.
"""
