"""What trained networks give to their heads."""

from hsac.frozen.features._content import Arrays, FeatureContent, normalised, pool


def build(arrays: Arrays, *, experiment: str, method: str) -> FeatureContent:
    """Take the penultimate features of networks, on rows that they were not trained on.

    Args:
        arrays: The dataset's arrays, and of `hsac.frozen.networks.embedded` ``backbone/x`` (B, n,
            F), ``backbone/rows`` (n,) and ``backbone/split`` (n,).
        experiment: The experiment that trains the networks.
        method: Its method.

    Returns:
        The features, a backbone for each seed of the cell.

    Raises:
        InputError: A backbone gives the same for every row.
    """
    x, rows, split = (arrays[f"backbone/{name}"] for name in ("x", "rows", "split"))
    label = arrays["label"][rows]
    return FeatureContent(
        words=f"{x.shape[-1]} penultimate features of {len(x)} networks of {experiment}, {method},"
        " on rows that they were not trained on",
        x=normalised(x, pool(split, label)),
        label=label,
        split=split,
        group=arrays["group"][rows],
        classes=arrays["classes"],
    )
