"""32 threads that allocate, fork and end at random: the log is sound, every address has one owner at a time.

``TRACEKIT_STRESS_SECONDS`` sets how long it goes on (2 where it is not set, 1 in the quick run).
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from effort import QUICK

from tracekit.log.columns import COLUMN_TYPES, EventColumns
from tracekit.log.reader import LogReader
from tracekit.log.summary import summarize
from tracekit.log.verify import verify
from tracekit.record.select import native_trouble
from tracekit.store.opening import open_store

pytestmark = pytest.mark.skipif(native_trouble() is not None, reason=str(native_trouble()))

PROGRAM = """
import gc, os, random, sys, threading, time, tracekit, warnings
warnings.simplefilter("ignore")
end = time.monotonic() + float(sys.argv[1])
shared, lock, ended = [], threading.Lock(), []

class Thing:
    def __init__(self, other): self.other, self.me = other, self

def fork():
    pid = os.fork()
    if pid == 0:
        held = [bytes(i) for i in range(300)]
        os._exit(len(held) % 256)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 300 % 256

def work(seed):
    chance, own = random.Random(seed), []
    while time.monotonic() < end and chance.random() > 0.002:
        what = chance.randrange(8)
        if what == 0:
            own.append([str(i) * 3 for i in range(chance.randrange(50))])
        elif what == 1:
            own.append(Thing(own[-1] if own else None))
        elif what == 2:
            own.append(bytearray(chance.randrange(5000)))
        elif what == 3 and own:
            del own[chance.randrange(len(own))]
        elif what == 4:
            with lock:
                shared.append(own[-5:])
        elif what == 5:
            with lock:
                shared[:] = shared[-100:]
        elif what == 6 and chance.random() < 0.01:
            fork()
        elif what == 7 and chance.random() < 0.02:
            tracekit.mark(f"thread {seed}")
        time.sleep(0) if chance.random() < 0.05 else None
    ended.append(seed)

seed = 0
threads = []
while time.monotonic() < end:
    threads = [thread for thread in threads if thread.is_alive()]
    while len(threads) < 32:
        seed += 1
        threads.append(threading.Thread(target=work, args=(seed,), name=f"worker-{seed}"))
        threads[-1].start()
    time.sleep(0.005)
for thread in threads:
    thread.join()
assert len(ended) == seed, (len(ended), seed)
print(seed)
"""


def whole(log: Path) -> EventColumns:
    """All events of a log in one piece."""
    with LogReader(log) as reader:
        batches = [record for _, record in reader.decoded() if isinstance(record, EventColumns)]
    joined = {name: np.concatenate([getattr(batch, name) for batch in batches]) for name in COLUMN_TYPES}
    return EventColumns(0, **joined)


def test_threads(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    seconds = os.environ.get("TRACEKIT_STRESS_SECONDS", "1" if QUICK else "2")
    log = tmp_path / "stress.tkt"
    command = [sys.executable, "-m", "tracekit", "record", "-q", "--engine", "native", "-o", str(log)]
    done = subprocess.run(
        [*command, str(tmp_path / "program.py"), seconds], capture_output=True, timeout=300, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
    verification = verify(log)
    assert verification.problems == []
    assert verification.complete
    assert {notice.code for notice in summarize(log).notices} <= {"types-put-off"}
    events = whole(log)
    owner = events.address.copy()
    ended = np.flatnonzero(events.frees & (events.alloc_seq >= 0))
    owner[ended] = events.address[events.alloc_seq[ended]]
    blocks = np.flatnonzero(events.allocations | events.frees)
    order = blocks[np.lexsort((blocks, owner[blocks]))]
    same = owner[order][1:] == owner[order][:-1]
    twice = same & (events.kind[order][1:] == events.kind[order][:-1]) & events.allocations[order][1:]
    assert not np.any(twice), f"an address was given out twice at event {order[1:][twice][:3]}"
    unmatched = events.frees & (events.alloc_seq < 0)
    known = np.isin(events.address[unmatched], events.address[events.allocations])
    first = np.unique(owner[order], return_index=True)[1]
    older = np.isin(np.flatnonzero(unmatched)[known], order[first])
    assert np.all(older), "a free of a block that was recorded found no allocation"
    with open_store(log, cache=False) as store:
        names = {str(name) for (name,) in store.query("SELECT name FROM threads").rows()}
    workers = int(done.stdout)
    # The last ones may have had no time to do anything.
    assert len(names & {f"worker-{number}" for number in range(1, workers + 1)}) > 0.8 * workers
