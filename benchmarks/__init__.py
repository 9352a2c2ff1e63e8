"""Speed and memory of hsac beside what a user would pick instead: `python -m benchmarks`."""
