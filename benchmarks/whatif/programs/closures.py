"""Functions that refer to themselves, and generators that were left half way."""

from collections.abc import Callable, Iterator


def counter(start: int) -> Callable[[int], int]:
    def count(steps: int) -> int:
        return start if steps == 0 else count(steps - 1) + 1

    return count


def numbers(first: int) -> Iterator[Callable[[], int]]:
    for number in range(first, first + 10):
        yield lambda: number


total = 0
half: list[Iterator[Callable[[], int]]] = []
for turn in range(60_000):
    total += counter(turn)(2)
    if turn % 3 == 0:
        half.append(numbers(turn))
        next(half[-1])
    if len(half) > 2_000:
        half.clear()
