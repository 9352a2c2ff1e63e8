"""The theory as code.

Ground-truth problems, studies of the hypergradient, certificates, and the role of curvature.
"""
