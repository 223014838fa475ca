"""Which engine records, and why. Importing this does nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tracekit.errors import EngineUnavailableError, UsageError
from tracekit.events import Capabilities

ENGINES: Final = ("auto", "native", "portable")

CAPABILITIES: Final = {
    "portable": Capabilities(
        exact_order=False,
        every_event=False,
        real_addresses=False,
        real_times=False,
        domains=False,
        types=False,
        causes=False,
        threads=False,
        reallocs=False,
        gc_tracked=False,
        arenas=False,
    ),
}
"""What each engine can know. Only engines that exist are listed."""


@dataclass(frozen=True, slots=True)
class Selection:
    """The engine that will record and a printable reason."""

    engine: str
    reason: str

    @property
    def capabilities(self) -> Capabilities:
        """What this engine can know."""
        return CAPABILITIES[self.engine]


def select(wanted: str) -> Selection:
    """Choose an engine. ``auto`` takes the best there is; a name is taken at its word.

    Raises EngineUnavailableError when the named engine cannot run here, UsageError for an unknown name.
    """
    if wanted not in ENGINES:
        raise UsageError(f"there is no engine {wanted!r}", hint=f"choose one of {', '.join(ENGINES)}")
    if wanted == "auto":
        return Selection("portable", "it is the only engine of this version")
    if wanted not in CAPABILITIES:
        raise EngineUnavailableError(
            f"this version of tracekit has no engine {wanted!r}", hint="use --engine portable"
        )
    return Selection(wanted, "it was asked for")
