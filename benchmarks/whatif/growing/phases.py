"""Grows on different lines in turn: small objects, large blocks, strings, a table that doubles."""

rows = []
for row in range(150_000):
    rows.append((row, [row], str(row)))
blocks = []
for block in range(40):
    blocks.append(bytearray(1_000_000))
texts = []
for text in range(4_000):
    texts.append("x" * 10_000 + str(text))
table: dict[int, None] = {}
for number in range(1_200_000):
    table[number] = None
