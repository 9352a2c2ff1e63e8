"""Frozen features: problems whose lower level can be solved, and their landscape over c.

Only a linear map into a tangent space and a Poincaré MLR are learned, on features that stay as they
are. So the bi-level problem is posed as the theory poses it: at every c the weights are a minimum.
"""
