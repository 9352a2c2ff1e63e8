"""Speed and memory of hsac, side by side with what a user would pick instead: `python -m
benchmarks`.
"""
