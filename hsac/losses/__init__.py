"""Training losses, one file each: the mean loss of a batch per run from logits and labels."""
