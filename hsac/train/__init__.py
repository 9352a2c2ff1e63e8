"""Training as a pure function of (weights, curvature, state, batch), for one seed or a bundle of
them.
"""
