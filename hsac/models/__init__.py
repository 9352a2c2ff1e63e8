"""Models, one file each: parameters as a dict of tensors, the forward pass a pure function.

`hsac.models.types.Model` is the interface, and the protocols beside it what some models have
besides. Heads have the interface `hsac.models.heads.Head`.
"""
