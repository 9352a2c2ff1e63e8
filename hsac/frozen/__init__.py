"""The study on frozen features: features as artefacts, the problems of their seeds, landscapes.

With frozen features a head is solved to its minimum at every curvature, as the theory of the method
poses it. `features` computes features of a dataset, `artefact` stores them, `splits` draws the
problem of each seed from them.
"""
