"""Performance of tracekit, measured on whole processes (``make bench``)."""
