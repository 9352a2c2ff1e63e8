"""What touches the machine, the disk and the clock."""
