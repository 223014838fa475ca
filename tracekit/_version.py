"""The version of the package, in one place and without imports."""

__version__ = "0.1.0"
