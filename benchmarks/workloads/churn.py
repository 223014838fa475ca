"""Dicts and lists that come and go in comprehensions."""

for turn in range(3000):
    rows = [{"id": row, "tags": [row, turn], "name": f"row {row}"} for row in range(2000)]
    names = [row["name"] for row in rows]
