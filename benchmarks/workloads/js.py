"""JSON round trips of a nested document."""

import json

items = [{"id": item, "text": "x" * (item % 40), "nested": {"a": [1.5, None]}} for item in range(400)]
document = {"items": items}
for _ in range(2800):
    document = json.loads(json.dumps(document))
