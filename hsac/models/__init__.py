"""Models, one file each: parameters as a dict of tensors, the forward pass a pure function.

A model has `curvature_names`, `vmapped` (whether many seeds run faster as one program), `dtype`, `init(generator)` and
`forward(params, c, x)`; `c` (C,) holds one curvature per name. `space` is euclidean or hyperbolic.
"""
