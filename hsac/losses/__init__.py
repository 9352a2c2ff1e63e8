"""Training losses, one file each, with the interface `hsac.losses.types.TrainingLoss`."""
