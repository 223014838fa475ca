"""The simulator: a model of CPython's memory manager that consumes a trace's events."""
