"""Allocations at the bottom of 200 frames."""


def down(depth: int) -> list[bytes]:
    if depth:
        return down(depth - 1)
    return [bytes(40 + row % 7) for row in range(400)]


for _ in range(40_000):
    down(200)
