"""Runs before the program when tracekit records it: this folder is then first on PYTHONPATH.

It takes itself out of sight, lets the sitecustomize that the program would have had run, and then starts the
engine. Whatever fails here must never keep the program from running. Sub-interpreters import it as well, and
with ``--follow`` every Python that a recorded program starts, of whatever version.
"""

import os
import sys


def _begin() -> None:
    here = os.path.dirname(os.path.abspath(__file__))
    ring = os.environ.pop("TRACEKIT_RING", "")
    engine = os.environ.pop("TRACEKIT_ENGINE", "")
    before = os.environ.pop("TRACEKIT_PYTHONPATH", None)
    follow = os.environ.get("TRACEKIT_FOLLOW", "")
    if before is not None:
        os.environ["PYTHONPATH"] = before
    elif ring and not follow:
        os.environ.pop("PYTHONPATH", None)
    sys.path[:] = [entry for entry in sys.path if entry != here]
    sys.path_importer_cache.pop(here, None)
    sys.modules.pop("sitecustomize", None)
    try:
        __import__("sitecustomize")
    finally:
        # Also when the program has no sitecustomize: the ImportError tells the site module so, as ever.
        if (ring or follow) and sys.version_info >= (3, 11):
            _record(here, ring, engine, follow)


def _record(here: str, ring: str, engine: str, follow: str) -> None:
    package_root = os.path.dirname(os.path.dirname(os.path.dirname(here)))
    present = package_root in sys.path
    if not present:
        sys.path.append(package_root)
    cached = set(sys.path_importer_cache)
    try:
        from tracekit.record.bootstrap import begin, load  # noqa: PLC0415

        load(engine, follow)
    finally:
        if not present:
            sys.path.remove(package_root)
        for entry in set(sys.path_importer_cache) - cached:
            del sys.path_importer_cache[entry]
    begin(ring, engine, follow)


_begin()
