"""JSON documents read, changed and written; the last few are kept."""

import json
from collections import deque

items = [{"id": item, "text": "x" * (item % 40), "nested": {"a": [1.5, None]}} for item in range(400)]
kept: deque[object] = deque(maxlen=20)
document = {"items": items}
for _ in range(150):
    document = json.loads(json.dumps(document))
    kept.append(document)
