"""C and Python agree on the layout of the ring."""

from __future__ import annotations

import re
from pathlib import Path

import tracekit._native
from tracekit import events
from tracekit.record import slots, texts

HEADER = Path(tracekit._native.__file__).parent / "slots.h"


def test_the_header_says_what_slots_say() -> None:
    text = HEADER.read_text(encoding="utf-8")
    found = dict(re.findall(r"\bTK_([A-Z_]+) = (\w+)", text))
    assert len(found) > 30
    for name, value in found.items():
        if not name.startswith("CAUSE_"):
            assert getattr(texts if hasattr(texts, name) else slots, name) == int(value, 0), name
    assert f"TK_SIZE_BITS {slots.SIZE_BITS}" in text
    assert f"TK_MAX_TEXT {texts.MAX_TEXT}u" in text
    assert slots.MAX_PAYLOAD == 1 << 20
    assert "TK_MAX_PAYLOAD (1u << 20)" in text
    assert slots.FREE_LISTS == events.FREE_LISTS
