"""One list that grows; its array moves from mapping to mapping. Then copies of it."""

numbers: list[None] = []
for number in range(3_000_000):
    numbers.append(None)
copies = []
for turn in range(8):
    copies.append(numbers + numbers)
joined = ",".join(str(number) for number in range(900_000))
