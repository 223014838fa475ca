"""Generations of objects of mixed sizes: each wave keeps a part of the one before, which leaves holes."""

import random

chance = random.Random(11)
kept: list[object] = []
for wave in range(12):
    fresh = [
        (
            bytes(chance.randrange(16, 480))
            if row % 3 == 0
            else {"wave": wave, "row": row, "text": str(row) * (row % 5)}
            if row % 3 == 1
            else [row, [wave, str(row)], (row, wave)]
        )
        for row in range(120_000)
    ]
    kept = [thing for thing in kept if chance.random() < 0.4] + [
        thing for thing in fresh if chance.random() < 0.5
    ]
    del fresh
