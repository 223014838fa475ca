"""What becomes of a recording when the recorded process forks. Runs in the target.

The child lets go of its parent's recording. If the children are to be recorded as well (``--follow``), it
then begins one of its own.
"""

import os
import sys

from tracekit.record import active

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from tracekit.record.contract import Engine

follow: "Callable[[], None] | None" = None
"""Begins a recording of this process's own; None where children are not followed."""

_watches = False
_engine: "Engine | None" = None


def watch(engine: "Engine | None" = None) -> None:
    """Be called in the children of forks from now on; ``engine`` is what is to let go there."""
    global _watches, _engine  # noqa: PLW0603 - there is no way to take such a hook back, so that one must do
    _engine = engine
    if not _watches:
        _watches = True
        os.register_at_fork(after_in_child=_in_child)


def _in_child() -> None:
    global _engine
    # Not active.engine: the call of this function alone can make the portable engine see where it is.
    engine, _engine = _engine, None
    active.engine = None
    try:
        if engine is not None:
            engine.disown()
        if follow is not None and not _about_to_exec():
            follow()
    except Exception:  # noqa: BLE001 - it would be printed in the midst of the child's own output
        return


def _about_to_exec() -> bool:
    """Whether subprocess forked to run its ``preexec_fn``: what is worth recording comes after the exec."""
    caller = sys._getframe(2)  # noqa: SLF001
    return caller.f_code.co_name == "_execute_child" and caller.f_globals.get("__name__") == "subprocess"
