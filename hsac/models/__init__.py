"""Models, one file each: parameters as a dict of tensors, the forward pass a pure function.

A model has `curvature_names`, `vmapped` (whether many seeds run faster as one program), `dtype`,
`init(generator)` and `forward(params, c, x)`; `c` (C,) holds one curvature per name. `space` is
euclidean or hyperbolic, `inputs` of a model for images is (H, W) where they are grey and (3, H, W)
where they are in colour.

A model that normalises by batch also has `statistics(params, c, x)`, and its `forward` and `embed`
take the mean of such statistics as a last argument, `state`; without it they normalise by x itself,
as training does.
"""
