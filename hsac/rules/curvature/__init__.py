"""Curvature rules, one file each, with the interface `hsac.rules.types.CurvatureRule`.

Class variables classify the rules:

- `geometry` is `euclidean` where the rule means no hyperbolic space at all.
- `needs_gradient`: the rule reads the training loss's own gradient in θ.
- `joint`: θ is moved by the weight rule, as more coordinates of w. Its field `decay` says whether
  weight decay applies to them. Such a rule needs the gradient, and its `update` leaves θ alone.
- `carries_points`: when it moves c, parameters that are points go over to the new ball
  (`hsac.train.carry`).
- `curvatures`: the name of a field that holds curvatures, which have to lie in their bounds.
- `derived`: its run is chosen among the runs of other methods, and nothing is trained. Such a rule
  (`grid`, `best_of`) only holds parameters and does not implement the interface.
- `searches`: its run is chosen among several trainings of its own, as a `SearchingRule`'s.
- `halves`: it searches by trainings side by side, half of which are dropped on the way, as a
  `HalvingRule`'s.
"""
