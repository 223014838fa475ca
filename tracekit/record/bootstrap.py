"""Starts the engine inside the program under observation."""

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tracekit.record.contract import Engine


def load(engine_name: str, follow: str) -> None:
    """Import what :func:`begin` will need, while the program's ``sys.path`` has our folder."""
    try:
        if follow:
            from tracekit.record import join  # noqa: F401, PLC0415
        if (engine_name or follow.rpartition("/")[2]) == "native":
            from tracekit.record import native  # noqa: F401, PLC0415
        else:
            from tracekit.record import portable  # noqa: F401, PLC0415
    except ImportError:
        return  # begin() comes upon it again, and says so


def begin(ring_path: str, engine_name: str, follow: str = "") -> None:
    """Attach to the ring and start recording; when that is not possible, say why on stderr and let go.

    ``follow`` is where processes ask for a ring that are to be recorded because their ancestor is, and
    ``ring_path`` is empty in these.
    """
    if follow:
        from tracekit.record import join  # noqa: PLC0415 - for those that need it

        if not ring_path:
            join.join(follow)
            return
        join.expect_forks(follow)
    try:
        engine = engine_at(ring_path, engine_name)
    except (ImportError, OSError, ValueError, RuntimeError) as error:
        os.write(2, f"tracekit: warning[not-recorded]: {error}; the program runs unrecorded\n".encode())
        return
    engine.start()


def engine_at(ring_path: str, name: str) -> "Engine":
    """The engine of that name, and no module of the other one, attached to the ring.

    Raises ImportError, OSError, ValueError or RuntimeError, all of which mean that it cannot record here.
    """
    if sys.implementation.name != "cpython":
        raise RuntimeError(f"this is {sys.implementation.name}, and tracekit records CPython only")
    if name == "native":
        from tracekit.record.native import NativeEngine  # noqa: PLC0415

        return NativeEngine(ring_path)
    from tracekit.record.portable import PortableEngine  # noqa: PLC0415
    from tracekit.record.ring import RingWriter  # noqa: PLC0415

    return PortableEngine(RingWriter(ring_path))
