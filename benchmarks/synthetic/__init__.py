"""Synthetic logs of any length, drawn from a recorded one (``python -m benchmarks.synthetic``)."""
