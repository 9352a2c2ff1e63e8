"""Tasks: what a setting asks of training. One class a kind of data.

`types` has the interface, `metrics` what answers are measured by, `images`, `graphs` and `episodes`
the tasks.
"""
