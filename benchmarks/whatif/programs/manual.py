"""A batch job that minds the collector itself: off while it builds, one collection after every batch."""

import gc
from itertools import pairwise


class Entry:
    def __init__(self, number: int) -> None:
        self.number = number
        self.links: list[Entry] = []


def batch(size: int) -> int:
    gc.disable()
    entries = [Entry(number) for number in range(size)]
    for one, other in pairwise(entries):
        one.links.append(other)
        other.links.append(one)
    gc.enable()
    return sum(len(entry.links) for entry in entries)


total = 0
for turn in range(60):
    total += batch(2_000 + turn * 40)
    rows = [[row, {"turn": turn}] for row in range(3_000)]
    if turn % 2:
        gc.collect()
