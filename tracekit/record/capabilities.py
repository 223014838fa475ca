"""What each engine can know. It travels in the log's header, so that no later layer pretends to know more."""

from __future__ import annotations

from typing import Final

from tracekit.events import Capabilities

CAPABILITIES: Final = {
    "native": Capabilities(
        exact_order=True,
        every_event=True,
        real_addresses=True,
        real_times=True,
        domains=True,
        types=True,
        causes=True,
        threads=True,
        reallocs=True,
        gc_tracked=True,
        arenas=True,
    ),
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
"""What each engine can know."""
