"""Tools for working on tracekit. None of this is in the package."""
