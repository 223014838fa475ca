"""tracekit: a flight recorder for the memory of Python programs.

This package is light on purpose: a program under observation may ``import tracekit`` and call
:func:`mark` and :func:`record` without pulling in anything but the standard library.
"""

from tracekit._version import __version__
from tracekit.record.active import mark

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tracekit.record.api import record  # noqa: TC004 - the package of that name is callable

__all__ = ["__version__", "mark", "record"]
