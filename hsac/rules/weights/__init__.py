"""Weight rules, one file each: `init(w) -> state`, `update(w, state, gradient, rate) -> (w, state,
Gradient)`.
"""
