"""The study on frozen features: problems whose lower level can be solved, and their landscape.

Only a linear map into a tangent space and a Poincaré MLR are learned, on features that stay as they
are. So the bi-level problem is posed as the theory poses it: at every c the weights are a minimum.
`features` computes features of a dataset, `artefact` stores them, `splits` draws the problem of
each seed from them. `branches` solves a problem's heads along c, and `landscape` measures there.
"""
