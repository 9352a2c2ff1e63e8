"""Weight rules, one file each, with the interface `hsac.rules.types.WeightRule`."""
