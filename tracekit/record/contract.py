"""What a recording session needs of an engine. What an engine cannot do is a capability, never a probe.

An engine lives in the program under observation. It attaches to a ring (:mod:`tracekit.record.ring`), says
hello (facts about the interpreter that only the target knows), and then writes events and definitions in one
total order. The collector turns what comes out of the ring into the log and knows no engine by name.
"""

from __future__ import annotations

from typing import Protocol


class Engine(Protocol):
    """The engine as the target's own code sees it."""

    name: str

    def start(self) -> None:
        """Begin recording; the first event is the mark ``start``."""

    def mark(self, name: str) -> None:
        """Record an instant with a name."""

    def stop(self) -> None:
        """Record the mark ``end`` and let go of the interpreter. Calling it again does nothing."""

    def disown(self) -> None:
        """In a fork's child: leave alone what is the parent's, and let go of the interpreter."""

    def outcome(self) -> int:
        """What the collector last said of the log: one of ``slots.OUTCOME_*``, from bit 8 on an errno."""

    def release(self) -> None:
        """After :meth:`stop`, when the program goes on: give back memory that recording needed."""
