"""Which engine records, and why. Importing this does nothing else."""

from __future__ import annotations

import sys
from importlib.machinery import PathFinder

from tracekit import _native
from tracekit.errors import EngineUnavailableError, PlatformError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

ENGINES: Final = ("auto", "native", "portable")

OLDEST, NEWEST = (3, 11), (3, 13)
"""The versions of CPython whose frames the native engine can walk."""


class Selection:
    """The engine that will record and a printable reason."""

    def __init__(self, engine: str, reason: str) -> None:
        self.engine = engine
        self.reason = reason


def native_trouble() -> str | None:
    """Why the native engine cannot record here, or None when it can."""
    if sys.implementation.name != "cpython":
        return f"it hooks CPython, and this is {sys.implementation.name}"
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        return f"it knows CPython 3.11 to 3.13, and this is {sys.version.split()[0]}"
    present = PathFinder.find_spec(f"{_native.__name__}._engine", _native.__path__) is not None
    return None if present else "its extension was not built when tracekit was installed"


def select(wanted: str) -> Selection:
    """Choose an engine. ``auto`` takes the best there is; a name is taken at its word.

    Raises EngineUnavailableError when the named engine cannot run here, PlatformError where none can, and
    UsageError for an unknown name.
    """
    if wanted not in ENGINES:
        raise UsageError(f"there is no engine {wanted!r}", hint=f"choose one of {', '.join(ENGINES)}")
    if "t" in sys.abiflags:
        raise PlatformError(
            "this is a free-threaded build of Python, where recording does not work yet",
            hint="use a build with the GIL",
        )
    if wanted == "portable":
        return Selection(wanted, "it was asked for")
    trouble = native_trouble()
    if trouble is None:
        return Selection("native", "it was asked for" if wanted == "native" else "it is the exact one")
    if wanted == "native":
        raise EngineUnavailableError(
            f"the native engine cannot record here: {trouble}", hint="use --engine portable"
        )
    return Selection("portable", f"the native engine cannot record here: {trouble}")
