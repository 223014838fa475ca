"""The portable engine: pure Python over sys.setprofile, gc.callbacks and tracemalloc.

Runs inside the program under observation and imports nothing but built-in parts of the standard library. At
sync points it compares what tracemalloc says is alive with what it said at the last one, and writes one event
a block gained or lost. Between sync points it knows nothing, and says so to every later layer
(:data:`tracekit.record.capabilities.CAPABILITIES`).

A sync point is due every ``sync_interval_ns`` of running time at a call boundary, before and after a
collection that freed something, when traced memory passes its last peak by 1 % or 64 KiB, at every mark, at
the end of a thread and at the end of the program. Taking stock costs time in proportion to what is alive, so
all but marks, ends and the second half of a collection keep to a budget: the time spent is to stay below some
seconds of grace plus a share of the running time (``ROUTINE``; twice that for a new peak, ``PEAK``). Out of
budget, a peak still counts when it passes the last one by ``PEAK_MUST_SHARE``: that many sync points are few,
since each is for a heap so much larger. What was put off is counted and said in the log.

The engine avoids allocating where the program's own stack is deep, because tracemalloc traces the engine,
too: a float comes from a free list, while an int or a tuple would cost a walk over all frames.
"""

from __future__ import annotations

import _thread
import _tracemalloc
import atexit
import gc
import os
import sys
import threading
import time

from tracekit.record import active, forks
from tracekit.record.facts import hello
from tracekit.record.inventory import Inventory
from tracekit.record.layouts import GC_START, GC_STOP, MARK_STACK
from tracekit.record.naming import MAIN_THREAD, OWN_FILES, Symbols, call_paths
from tracekit.record.ring import RingClosed, RingWriter
from tracekit.record.signals import (
    CLOCK,
    TRIP,
    HandedOn,
    block_signals,
    restore_signals,
    without_signal_check,
)
from tracekit.record.slots import DEF_GC_START, DEF_GC_STOP, DEF_HELLO, DEF_MARK, DEF_MEMORY, STATE_ENDED
from tracekit.record.texts import DEF_NOTICE, pack_texts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType, FrameType
    from typing import Any

REFCOUNT, GC, UNKNOWN = 0, 1, 3  # tracekit.events.Cause
CHECK_SECONDS = 0.0005
ROUTINE = (0.5, 0.5)
PEAK = (1.0, 1.0)
PEAK_STEP_BYTES = 65_536
PEAK_STEP_SHARE = 100
PEAK_MUST_SHARE = 10


class PortableEngine:
    """Records this process through the ring. One a process; see the module's description.

    Raises RuntimeError when tracemalloc cannot be started.
    """

    name = "portable"

    def __init__(self, ring: RingWriter) -> None:
        self._ring = ring
        self._symbols = Symbols(ring)
        self._inventory = Inventory(ring, self._symbols)
        self._lock = _thread.RLock()
        self._raised: list[BaseException] = []
        self._handed_on: HandedOn | None = None
        self._main_ident = threading.main_thread().ident
        self._running = False
        self._pid = os.getpid()
        self._detached_in = 0
        self._started_at = 0.0
        self._started_tracing = False
        self._interval = ring.sync_interval_ns / 1e9
        self._next_check = 0.0
        self._due = 0.0
        self._peak_bytes = self._peak_limit = self._peak_must = 0
        self._spent = 0.0
        self._put_off = 0
        self._threads_ran = False
        self._alone = True
        self._gc_synced = False
        self._gc_mixed = False
        self._gc_entered = 0.0
        self._gc_before = 0
        self._replaced = False
        self._gc_is_off = False
        self._bootstrap_code = threading.Thread._bootstrap_inner.__code__  # type: ignore[attr-defined] # noqa: SLF001
        self._profile = self._make_profile()

    # -- life ---------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin: from here to :meth:`stop` (called at exit) everything is recorded."""
        frame: FrameType | None = sys._getframe()  # noqa: SLF001
        while frame is not None:
            if frame.f_code.co_filename not in OWN_FILES:
                self._symbols.code(frame.f_code)
            frame = frame.f_back
        self._started_tracing = not _tracemalloc.is_tracing()
        if self._started_tracing:
            _tracemalloc.start(max(1, min(self._ring.max_frames, 65_535)))
        self._hello()
        self._symbols.thread()  # its number comes before the events that refer to it
        self._running = True
        active.engine = self
        self._mark("start", own=True)
        self._started_at = time.perf_counter()
        self._spent = 0.0
        forks.watch(self)
        atexit.register(self.stop)
        gc.callbacks.append(self._gc_callback)
        threading.setprofile(self._profile)
        if sys.getprofile() is None:  # a fork's child may have inherited one of the program's own
            sys.setprofile(self._profile)

    def mark(self, name: str) -> None:
        """Take stock and name this instant."""
        if self._running:
            self._stay_profile()
            self._mark(str(name)[:1000], own=False)
        if self._raised:
            TRIP + self._hand_on()

    def stop(self) -> None:
        """The program is done: take stock for the last time. tracemalloc goes on as it would without us."""
        if not self._running or os.getpid() != self._pid:
            return
        if self._put_off:
            text = (
                f"sync points were put off {self._put_off} times, to bound the recorder's share of time; "
                "the true peak may be higher, and some causes are unknown"
            )
            self._guarded(self._notice, "sync-put-off", text, wait=True)
        self._guarded(self._write_end, wait=True)
        self._raised.clear()  # python itself runs nothing any more that it could interrupt
        self._detach()

    def disown(self) -> None:
        """After a fork the child must leave the ring alone."""
        self._detach()
        atexit.unregister(self.stop)
        if self._gc_is_off:  # by another thread, which is not here
            gc.enable()
        # In a parent that had let go before, tracemalloc was the program's own affair already.
        if self._started_tracing and self._detached_in == os.getpid():
            _tracemalloc.stop()
        self._ring.close()

    def outcome(self) -> int:
        """What the collector said last of the log."""
        return self._ring.outcome

    def release(self) -> None:
        """The program goes on without us, and so without tracemalloc, too."""
        forks.watch(None)
        atexit.unregister(self.stop)
        if self._started_tracing:
            _tracemalloc.stop()
        self._ring.close()

    def _detach(self) -> None:
        self._running = False
        self._detached_in = self._detached_in or os.getpid()
        if active.engine is self:
            active.engine = None
        if self._gc_callback in gc.callbacks:
            gc.callbacks.remove(self._gc_callback)
        if sys.getprofile() is self._profile:
            sys.setprofile(None)
        if threading.getprofile() is self._profile:
            threading.setprofile(None)

    def _give_up(self, error: Exception) -> None:
        self._detach()
        try:
            self._notice(
                "engine-failed", f"the recorder failed and the program went on without it: {error!r}"
            )
        except (RingClosed, MemoryError):
            return

    # -- what CPython calls -------------------------------------------------------------------------------

    def _make_profile(self) -> Any:
        """The profile function; it runs at every call and return, so it does next to nothing."""
        codes = self._symbols.codes
        see, check, thread_ends = self._see, self._check, self._thread_ends
        raised, hand_on = self._raised, self._hand_on
        bootstrap_code = self._bootstrap_code

        # Up to `return` there is no call on the common way, so that no signal handler runs in here.
        def profile(frame: FrameType, event: str, _: object) -> None:
            try:
                if event == "call":
                    code = frame.f_code
                    if code.co_filename not in codes or code.co_qualname not in codes[code.co_filename]:
                        see(code)
                elif event == "return" and frame.f_code is bootstrap_code:
                    thread_ends()
                # Nor in the engine's own calls: what is handed on must arrive in the program.
                if self._next_check > -CLOCK or frame.f_code.co_filename in OWN_FILES:
                    return
                check()
            except RecursionError:
                pass  # the stack is nearly full: the next call may fit again
            except BaseException as error:  # noqa: BLE001
                raised[:] = [error]  # no call: at its end 3.12 and later may collect
            if raised:
                TRIP + hand_on()

        return without_signal_check(profile)

    @without_signal_check
    def _gc_callback(self, phase: str, info: dict[str, int]) -> None:
        try:
            self._collection(phase, info)
        except RecursionError:
            pass
        except BaseException as error:  # noqa: BLE001
            self._raised[:] = [error]
        if self._raised:
            TRIP + self._hand_on()

    @without_signal_check  # where 3.12 and later collect, too: the callback must not hand it on first
    def _hand_on(self) -> int:
        """Have the program's own frame raise what its signal handler raised in ours; TRIP the result."""
        error = self._raised.pop()
        self._raised.clear()
        self._next_check = 0.0
        if self._handed_on is not None:
            self._handed_on.release()
        self._handed_on = HandedOn(error, OWN_FILES)
        return self._handed_on.number

    def _collection(self, phase: str, info: dict[str, int]) -> None:
        now = time.perf_counter()
        if not self._running:
            return
        if phase == "start":
            self._stay_profile()
            counts = gc.get_count()
            # Without tracemalloc a sync costs nothing: it says so in the log and ends the recording.
            # A peak within one call of a C function is seen here or nowhere.
            self._gc_synced = (
                self._affordable(ROUTINE)
                or not _tracemalloc.is_tracing()
                or _tracemalloc.get_traced_memory()[0] > self._peak_must
            )
            if self._gc_synced:
                self._guarded(self._sync, REFCOUNT, wait=True)
            else:
                self._put_off += 1
            self._guarded(self._write_gc_start, info["generation"], counts, wait=True)
            self._gc_before = _tracemalloc.get_traced_memory()[0]
            self._gc_entered = time.perf_counter()
        else:
            freed = info["collected"] > 0 or _tracemalloc.get_traced_memory()[0] < self._gc_before
            if freed and self._gc_synced:
                self._guarded(self._sync, GC, wait=True)
            elif freed:
                self._gc_mixed = True
            duration = max(0, int((now - self._gc_entered) * 1e9))
            self._guarded(self._write_gc_stop, duration, info, wait=True)
            if self._replaced:
                self._check()

    def _see(self, code: CodeType) -> None:
        self._guarded(self._symbols.code, code)
        if self._raised:
            self._next_check = 0.0

    def _thread_ends(self) -> None:
        self._threads_ran = True
        if self._affordable(ROUTINE):
            self._guarded(self._sync, REFCOUNT)
        else:
            self._put_off += 1
        self._symbols.forget_thread()

    def _check(self) -> None:
        """Take stock if a sync point is due; runs every ``CHECK_SECONDS`` of running time."""
        now = time.perf_counter()
        self._next_check = now + CHECK_SECONDS
        if self._handed_on is not None and self._handed_on.arrived:
            self._handed_on.release()
            self._handed_on = None
        if not self._running:
            self._leave_thread()
            return
        traced = _tracemalloc.get_traced_memory()[0]
        if traced > self._peak_limit:
            due = traced > self._peak_must or self._affordable(PEAK)
        elif now >= self._due:
            due = self._affordable(ROUTINE) or not _tracemalloc.is_tracing()
        else:
            return
        if due:
            self._guarded(self._sync, REFCOUNT)
        else:
            self._put_off += 1
            self._due = now + self._interval

    def _affordable(self, budget: tuple[float, float]) -> bool:
        running = time.perf_counter() - self._started_at - self._spent
        return self._spent < budget[0] + budget[1] * running

    def _guarded(self, action: Any, *arguments: object, wait: bool = False) -> None:
        """Run a piece of the engine that writes to the ring: never nested, never in a fork's child.

        While another thread is at it, this one waits or, if the piece may as well come later, skips it.
        """
        if self._lock._is_owned() or not _has_room():  # type: ignore[attr-defined] # noqa: SLF001
            return
        # A signal handler that raises must not tear a sync apart; it runs when the mask is restored.
        before = block_signals(self._raised)
        try:
            if self._lock.acquire(wait):
                try:
                    self._alone_with_ring(action, *arguments)
                finally:
                    self._lock.release()
        except BaseException as error:  # noqa: BLE001
            self._raised.append(error)
        restore_signals(before, self._raised)

    def _alone_with_ring(self, action: Any, *arguments: object) -> None:
        collecting = self._gc_is_off = gc.isenabled()
        # What the engine allocates and frees here must not set off a collection of its own.
        gc.disable()
        entered = time.perf_counter()
        try:
            if os.getpid() != self._pid or self._ring.closed:
                self._detach()
            elif self._running:
                action(*arguments)
        except RingClosed:
            self._detach()
        except BaseException as error:
            # The sync is torn; what was written stands.
            if not isinstance(error, Exception) or not _is_own(error):
                # A signal handler's, and only another thread can have taken the signal now.
                self._detach()
                raise
            self._give_up(error)
        finally:
            self._spent += time.perf_counter() - entered
            if collecting:
                gc.enable()
            self._gc_is_off = False

    # -- records ------------------------------------------------------------------------------------------

    def _now_ns(self) -> int:
        """Time of the recording; 0 up to and including the mark ``start``."""
        return int((time.perf_counter() - self._started_at) * 1e9) if self._started_at else 0

    def _hello(self) -> None:
        number, payload = hello(
            self.name, "lines", time.perf_counter_ns(), _tracemalloc.get_traceback_limit()
        )
        self._ring.define(DEF_HELLO, number, payload)

    def _mark(self, name: str, *, own: bool) -> None:
        self._guarded(self._write_mark, name, own, wait=True)

    def _write_mark(self, name: str, own: bool) -> None:
        symbols = self._symbols
        where = b"".join(
            MARK_STACK.pack(symbols.thread(ident), symbols.path(frames)) for ident, frames in call_paths()
        )
        self._sync(REFCOUNT)
        payload = bytes([own]) + pack_texts(name) + where
        self._ring.define(DEF_MARK, self._now_ns(), payload, thread=symbols.thread())

    def _write_end(self) -> None:
        self._write_mark("end", own=True)
        self._running = False
        self._ring.set_state(STATE_ENDED)

    def _write_gc_start(self, generation: int, counts: tuple[int, int, int]) -> None:
        payload = GC_START.pack(generation, *counts, *gc.get_threshold())
        self._ring.define(DEF_GC_START, self._now_ns(), payload, thread=self._symbols.thread())

    def _write_gc_stop(self, duration_ns: int, info: dict[str, int]) -> None:
        payload = GC_STOP.pack(duration_ns, info["collected"], info["uncollectable"])
        self._ring.define(DEF_GC_STOP, self._now_ns(), payload, thread=self._symbols.thread())

    def _notice(self, code: str, text: str) -> None:
        self._ring.define(DEF_NOTICE, self._now_ns(), pack_texts(code, text))

    # -- sync points --------------------------------------------------------------------------------------

    def _sync(self, cause: int) -> None:
        """Write the difference between what is alive now and what was alive at the last sync point."""
        if not _tracemalloc.is_tracing():
            self._notice(
                "tracemalloc-stopped", "the program stopped tracemalloc; nothing is recorded after this"
            )
            self._detach()
            return
        if not self._replaced and active.engine is self and self._profile_was_replaced():
            self._replaced = True
            self._notice(
                "profile-replaced",
                "the program set a profile function of its own; sync points are rarer after this",
            )
        if self._gc_mixed:
            cause, self._gc_mixed = UNKNOWN, False
        traces: Any = _tracemalloc._get_traces()  # noqa: SLF001
        now = self._now_ns()
        alone = self._alone
        self._alone = _thread._count() == 0 and not self._threads_ran  # noqa: SLF001
        self._threads_ran = False
        thread = MAIN_THREAD if alone and self._alone else 0
        self._inventory.update(traces, now, thread, cause)
        traced, peak = _tracemalloc.get_traced_memory()
        self._ring.define(DEF_MEMORY, now, peak.to_bytes(8, "little"))
        # What tracemalloc counts has the recorder's own blocks in it; the peak is the program's.
        own = traced - self._inventory.live_bytes
        top = self._peak_bytes = max(self._peak_bytes, self._inventory.live_bytes)
        self._peak_limit = own + top + max(PEAK_STEP_BYTES, top // PEAK_STEP_SHARE)
        self._peak_must = own + top + max(PEAK_STEP_BYTES, top // PEAK_MUST_SHARE)
        self._due = time.perf_counter() + self._interval

    def _leave_thread(self) -> None:
        """Another thread ended the recording; this one still has the profile function."""
        if sys.getprofile() is self._profile:
            sys.setprofile(None)

    def _profile_was_replaced(self) -> bool:
        """In the main thread's own code (a sync within the profile function or within a mark)."""
        return (
            _thread.get_ident() == self._main_ident
            and self._inventory.taken
            and sys.getprofile() not in {self._profile, None}
        )

    def _stay_profile(self) -> None:
        """CPython takes a profile function away when it does not fit on the stack any more."""
        if self._running and _thread.get_ident() == self._main_ident and sys.getprofile() is None:
            sys.setprofile(self._profile)


def _is_own(error: Exception) -> bool:
    """Whether it was raised in the engine's own code, and not in a handler that ran there."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    return traceback is not None and traceback.tb_frame.f_code.co_filename in OWN_FILES


def _has_room(frames: int = 24) -> bool:
    """Whether so many calls still fit under the recursion limit: a sync must not be torn by it."""
    try:
        return frames == 0 or _has_room(frames - 1)
    except RecursionError:
        return False
