"""The engine that records this process, if one does."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tracekit.record.contract import Engine

engine: "Engine | None" = None
"""Set by the engine when it starts and cleared when it stops."""


def mark(name: str) -> None:
    """Give this instant of the recording a name, to be used later as the moment ``mark:NAME``.

    Does nothing when the process is not recorded. Names may repeat; ``mark:NAME`` is the first of its name.
    """
    if engine is not None:
        engine.mark(name)
