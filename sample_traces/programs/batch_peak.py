"""A batch job that reads everything before it reduces it: the peak is far above what it needs at the end."""

import random

import tracekit


def load(rows: int) -> list[dict[str, object]]:
    source = random.Random(7)
    return [
        {"id": row, "city": f"city-{source.randrange(50)}", "amount": source.random() * 100}
        for row in range(rows)
    ]


def normalise(table: list[dict[str, object]]) -> list[tuple[str, float]]:
    return [(str(row["city"]).upper(), round(float(str(row["amount"])), 2)) for row in table]


def totals(pairs: list[tuple[str, float]]) -> dict[str, float]:
    result: dict[str, float] = {}
    for city, amount in pairs:
        result[city] = result.get(city, 0.0) + amount
    return result


def main() -> None:
    table = load(3000)
    tracekit.mark("loaded")
    pairs = normalise(table)
    tracekit.mark("normalised")
    del table
    result = totals(pairs)
    del pairs
    tracekit.mark("reduced")
    print(len(result), "cities")


main()
