"""Everything that learns is a rule: `init` makes its state, `update` moves it one step.

Weight rules move the weights w, curvature rules the unconstrained curvatures θ.
"""
