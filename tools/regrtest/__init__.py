"""CPython's own regression tests with and without the recorder (docs/regrtest.md)."""
