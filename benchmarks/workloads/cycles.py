"""Objects that refer to themselves, so that only the collector frees them."""


class Node:
    def __init__(self) -> None:
        self.me = self


for _ in range(11_000_000):
    Node()
