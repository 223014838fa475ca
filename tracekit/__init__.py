"""tracekit: a flight recorder for the memory of Python programs.

This package is light on purpose: a program under observation may ``import tracekit`` and call
:func:`mark` without pulling in anything but the standard library.
"""

from tracekit._version import __version__
from tracekit.record.active import mark

__all__ = ["__version__", "mark"]
