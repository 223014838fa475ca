"""A large heap that stays, read and changed here and there, while short-lived objects come and go."""

import random

chance = random.Random(7)
records = {
    number: {"id": number, "tags": [number, str(number)], "next": (number + 1, [])}
    for number in range(60_000)
}
for turn in range(150):
    for _ in range(300):
        number = chance.randrange(60_000)
        records[number] = {"id": number, "tags": [number, str(turn)], "next": (turn, [])}
    rows = [{"id": row, "sum": [row, turn]} for row in range(1_500)]
    names = [(row["id"], [row]) for row in rows]
