"""What stands in a slot and in payloads of definitions. Apart from slots.py, because struct takes memory.

The native engine packs in C, so a program that it records does not load this.
"""

from __future__ import annotations

import struct

from tracekit.record.slots import FREE_LISTS

SLOT = struct.Struct("<BBHIQ")
LINE_NODE = struct.Struct("<IIIi")  # node, parent, file, line
FRAME_NODE = struct.Struct("<IIIii")  # node, parent, file, line, first line of the code; its name follows
CODE_HEAD = struct.Struct("<iI")  # first line, frame words
CODE_NODE = struct.Struct("<IIII")  # parent, code number, offset, node
TYPE_HEAD = struct.Struct("<QB")  # basic size, collector tracks it
MARK_STACK = struct.Struct("<II")  # thread, node; for each thread behind the text of a mark
OLDER_ARENA = struct.Struct("<QQ")  # address, size
OLDER_POOL = struct.Struct("<QII")  # first block, bytes a block, blocks; a bit for each follows, in bytes
GC_START = struct.Struct("<I6I")  # generation, counts, thresholds
GC_LONG_LIVED = struct.Struct("<QQ")  # behind that, from the native engine: total and pending
GC_SETTING = struct.Struct("<4i")  # whether it is on, thresholds
GC_STOP = struct.Struct("<QQQ")  # duration, collected, uncollectable
GC_FREE_LISTS = struct.Struct(f"<{FREE_LISTS}H")  # behind the last two; see events.FreeLists
