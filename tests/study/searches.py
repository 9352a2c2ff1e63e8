"""Studies of the smoke scale's digits, with methods that search."""

from studies import smoke, smoke_keys

from hsac.study import resolve

METHODS = [
    "sgd+euclidean",
    "sgd+fixed@0.3",
    "sgd+hsac",
    "sgd+hsac_cg",
    "sam+hsac",
]


def searching(search=None, digits=None, **override):
    """Load the digits with a search, keys of theirs and top-level keys set anew."""
    own = {"methods": METHODS, "rules": {}} | (digits or {})
    rules = smoke_keys("rules")
    rules["curvature"]["hsac_cg"] = {"rule": "hsac", "solver": {"name": "cg"}}
    experiments = {"digits": smoke_keys("experiments", "digits") | own}
    return smoke({"search": search, "rules": rules, "experiments": experiments} | override)


def points(study, method, experiment="digits"):
    """Return what the trials of a method replace."""
    return resolve.cell(study, experiment, method).config.search.points
