"""Replay: the heap at any moment of a trace, and the difference of two moments."""
