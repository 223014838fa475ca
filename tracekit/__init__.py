"""tracekit: a flight recorder for the memory of Python programs."""
