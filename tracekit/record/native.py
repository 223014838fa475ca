"""The native engine's Python half: it drives the C extension inside the program under observation.

The extension hooks CPython's allocators and writes every event to the ring by itself. What is left to Python
is done at the seams: the start, marks, and the end.
"""

import atexit
import gc
import os
import sys
import time

from tracekit._native import _engine
from tracekit.record import active, forks
from tracekit.record.facts import hello
from tracekit.record.texts import DEF_NOTICE, DEF_THREAD, pack_texts

TYPES_BUDGET = (0.05, 0.1)
"""Seconds of grace, and share of the running time, that telling types of live blocks at marks may take."""


class NativeEngine:
    """Records this process through the ring at ``ring_path``. One a process at a time.

    Raises OSError when the ring cannot be opened.
    """

    name = "native"

    def __init__(self, ring_path: str) -> None:
        _engine.attach(ring_path)
        self._running = False
        self._pid = os.getpid()
        self._started_at = 0.0
        self._spent = 0.0
        self._put_off = 0

    def start(self) -> None:
        """Begin: from here to :meth:`stop` (called at exit) everything is recorded."""
        _engine.prepare(os.path.join(os.path.dirname(__file__), ""))
        pending: list[type] = [object]
        for kind in pending:
            _engine.know_type(kind)
            pending += type.__subclasses__(kind)
        del pending
        zero = time.monotonic_ns()
        number, facts = hello(self.name, "offsets", zero, 0)
        _engine.hello(number, facts)
        if "threading" not in sys.modules:  # which alone knows names, and there is one thread
            _engine.define(DEF_THREAD, 1, pack_texts("MainThread"))
        self._started_at = time.perf_counter()
        self._running = True
        active.engine = self
        forks.watch(self)
        atexit.register(self.stop)
        gc.callbacks.append(_engine.collection)
        _engine.start(zero)

    def mark(self, name: str) -> None:
        """Name this instant, and tell the types of what is alive as far as that does not take long."""
        if not self._running or os.getpid() != self._pid:
            return
        self._check_hooks()
        entered = time.perf_counter()
        if self._spent < TYPES_BUDGET[0] + TYPES_BUDGET[1] * (entered - self._started_at - self._spent):
            _engine.live_types()
            self._spent += time.perf_counter() - entered
        else:
            self._put_off += 1
        _engine.mark(str(name))

    def stop(self) -> None:
        """The program is done: tell the types of what is still alive, and unhook."""
        if not self._running or os.getpid() != self._pid:
            return
        self._running = False
        self._check_hooks()
        if self._put_off:
            self._notice(
                "types-put-off",
                f"at {self._put_off} marks the types of live blocks were not told, "
                "to bound the recorder's share of time",
            )
        _engine.live_types()
        _engine.stop()
        self._unregister()

    def disown(self) -> None:
        """In a fork's child: the extension already stopped writing before any Python ran here."""
        self._running = False
        _engine.disown()
        self._unregister()

    def outcome(self) -> int:
        """What the collector said last of the log."""
        return _engine.outcome()

    def release(self) -> None:
        """Give the ring's memory back."""
        forks.watch(None)
        _engine.release()

    def _unregister(self) -> None:
        if active.engine is self:
            active.engine = None
        atexit.unregister(self.stop)
        if _engine.collection in gc.callbacks:
            gc.callbacks.remove(_engine.collection)

    def _check_hooks(self) -> None:
        if _engine.recording() and not _engine.alive():
            _engine.hook_again()
            self._notice(
                "hooks-replaced",
                "the program put other allocator hooks in place of the recorder's; "
                "what it allocated and freed between then and now is missing",
            )

    @staticmethod
    def _notice(code: str, text: str) -> None:
        _engine.define(DEF_NOTICE, 0, pack_texts(code, text))
