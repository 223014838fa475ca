"""Performance of the store: from a log to the first answer, its size, and the heap at any instant."""
