"""Documents whose parts point back at them: reference counting cannot free them, the collector has to."""

import gc

import tracekit


class Part:
    def __init__(self, document: "Document", text: str) -> None:
        self.document = document
        self.text = text


class Document:
    def __init__(self, number: int, parts: int) -> None:
        self.number = number
        self.parts = [Part(self, f"part {index} of {number}") for index in range(parts)]

    def words(self) -> int:
        return sum(len(part.text.split()) for part in self.parts)


def read(count: int) -> int:
    words = 0
    for number in range(count):
        words += Document(number, 8).words()
    return words


def main() -> None:
    print(read(300), "words with the collector on")
    tracekit.mark("collected")
    gc.disable()
    print(read(200), "words with the collector off")
    tracekit.mark("piled-up")
    print("found", gc.collect() > 0)
    tracekit.mark("cleaned")


main()
