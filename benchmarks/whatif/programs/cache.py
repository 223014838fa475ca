"""A cache that nobody empties: it grows with every question."""

import functools


@functools.cache
def answer(question: str) -> dict[str, object]:
    words = question.split()
    return {"words": words, "index": {word: [place] for place, word in enumerate(words)}, "of": question}


for turn in range(30_000):
    answer(f"what is {turn} and {turn % 17} of {turn // 3}")
    answer(f"what is {turn // 2} and {(turn // 2) % 17} of {turn // 6}")
