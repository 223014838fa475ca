"""Gives back what it took, and takes again: the second growth goes into the holes of the first."""

first = []
for one in range(200_000):
    first.append({"row": one})
del first[::2]
second = []
for two in range(150_000):
    second.append({"row": two})
third = []
for three in range(60):
    third.append(list(range(three, three + 100_000)))
