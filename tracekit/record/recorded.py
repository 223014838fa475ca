"""What came of a recording, as a value."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tracekit.events import Notice, Totals


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedLog:
    """What came of one process. ``output`` is None when no log was made."""

    pid: int
    argv: list[str]
    output: str | None
    complete: bool
    totals: Totals
    log_bytes: int
    notices: list[Notice]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What came of it all. ``exit_status`` is the program's, negative for a signal.

    ``followed`` are the logs of other processes that descend from the program, in the order of their ends;
    ``unfollowed`` says of others why they were not recorded.
    """

    log: RecordedLog
    exit_status: int
    engine: str
    engine_reason: str
    followed: list[RecordedLog] = field(default_factory=list)
    unfollowed: list[str] = field(default_factory=list)

    @property
    def output(self) -> str | None:
        """The program's log."""
        return self.log.output

    @property
    def complete(self) -> bool:
        """Whether the program's log reaches to its end."""
        return self.log.complete

    @property
    def totals(self) -> Totals:
        """Counts of the program's log."""
        return self.log.totals

    @property
    def log_bytes(self) -> int:
        """Length of the program's log."""
        return self.log.log_bytes

    @property
    def notices(self) -> list[Notice]:
        """Notices of the program's log."""
        return self.log.notices
