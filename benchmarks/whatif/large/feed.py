"""One JSON document of some hundred megabytes of objects, read, sorted, cut down and written again."""

import json

text = json.dumps(
    [
        {
            "id": row,
            "name": f"row {row}",
            "tags": ["a", str(row % 977)],
            "place": {"x": row / 7, "y": -row / 3},
        }
        for row in range(250_000)
    ]
)
rows = json.loads(text)
del text
rows.sort(key=lambda row: (row["tags"][1], row["id"]))
for cut in (200_000, 120_000, 40_000):
    del rows[cut:]
    rows += json.loads(json.dumps(rows[:20_000]))
json.dumps(rows)
