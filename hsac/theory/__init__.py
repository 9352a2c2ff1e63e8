"""The theory as code: ground-truth problems, studies of the hypergradient, certificates, the role
of curvature.
"""
