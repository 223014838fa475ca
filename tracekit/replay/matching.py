"""Which file and which line of one version of a program is which of another."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher
from typing import Final

from msgspec import Struct

MOST_NAMESAKES: Final = 64
"""Of more files with one base name, those with unequal paths are not matched: there are too many pairs."""
MOST_PAIRS: Final = 1 << 17
"""Of more pairs of lines with equal text in one function, their neighbours are not looked at."""

_LIBRARY: Final = re.compile(r".*/(?:(?:site|dist)-packages|lib(?:64)?/python\d[^/]*)/(.+)")
_ANONYMOUS: Final = frozenset({"__init__.py", "__main__.py"})
"""Base names that say nothing without their folder."""

_Key = str | int
"""What a line is matched by: its text or its distance."""


class Line(Struct, frozen=True):
    """A line of a function: its number, its distance to the function's first line, its text if known."""

    number: int
    distance: int
    text: str | None = None


def match_files(
    old: Iterable[str], new: Iterable[str], *, old_folder: str = "", new_folder: str = ""
) -> dict[str, str]:
    """The new name of each old file that has one.

    First come equal names. Then names that are equal below the folder where each program was started, or
    below the folder of its Python's libraries. Then, of files with one base name, the two whose paths have
    more in common from their ends than either has with another.
    """
    olds, news = list(dict.fromkeys(old)), list(dict.fromkeys(new))
    same = set(olds) & set(news)
    found = {name: name for name in olds if name in same}
    olds, news = ([name for name in names if name not in same] for names in (olds, news))
    old_by_name, new_by_name = _below(olds, old_folder), _below(news, new_folder)
    found |= {old_by_name[name]: new_by_name[name] for name in old_by_name if name in new_by_name}
    matched = set(found.values())
    return found | _by_ending(
        [name for name in olds if name not in found], [name for name in news if name not in matched]
    )


def _below(names: Iterable[str], folder: str) -> dict[str, str]:
    """Files by their name below a folder; without those that are no files, and those of one name."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    start = f"{folder.rstrip('/')}/"
    for name in names:
        library = _LIBRARY.fullmatch(name)
        if library:
            found[f"library {library[1]}"].append(name)
        elif start != "/" and name.startswith(start):
            found[name.removeprefix(start)].append(name)
        elif name and name[0] not in "</":
            found[name.removeprefix("./")].append(name)
    return {short: names[0] for short, names in found.items() if len(names) == 1}


def _by_ending(olds: Iterable[str], news: Iterable[str]) -> dict[str, str]:
    by_base: defaultdict[str, tuple[list[str], list[str]]] = defaultdict(lambda: ([], []))
    for side, names in enumerate((olds, news)):
        for name in names:
            if not name.startswith("<"):
                by_base[name.rpartition("/")[2]][side].append(name)
    found = {}
    for base, (old, new) in by_base.items():
        if 0 < len(old) <= MOST_NAMESAKES and 0 < len(new) <= MOST_NAMESAKES:
            least = 2 if base in _ANONYMOUS or len(old) > 1 or len(new) > 1 else 1
            common = {(a, b): _in_common(a, b) for a in old for b in new}
            for (a, b), parts in common.items():
                rivals = [common[a, other] for other in new if other != b]
                rivals += [common[other, b] for other in old if other != a]
                if parts >= least and parts > max(rivals, default=0):
                    found[a] = b
    return found


def _in_common(one: str, other: str) -> int:
    """How many parts two paths have in common from their ends."""
    pairs = zip(reversed(one.split("/")), reversed(other.split("/")), strict=False)
    count = 0
    for a, b in pairs:
        if a != b:
            break
        count += 1
    return count


def have_text(lines: Iterable[Line]) -> bool:
    """Whether the text of all lines is known."""
    return all(line.text is not None for line in lines)


def match_lines(old: Sequence[Line], new: Sequence[Line]) -> dict[int, int]:
    """The new number of each line of a function that has one; both in the order of their numbers.

    Lines match by their text, if that of all lines is known, and else by their distance to the first line of
    the function. Of equal ones, as many on both sides match in order; of others those that have equal
    neighbours, then the rest in order.
    """
    if have_text(old) and have_text(new):
        old_keys: list[_Key] = [line.text or "" for line in old]
        new_keys: list[_Key] = [line.text or "" for line in new]
    else:
        old_keys, new_keys = [line.distance for line in old], [line.distance for line in new]
    found = {at: at for at in range(_same(old_keys, new_keys))}
    rest = min(len(old_keys), len(new_keys)) - len(found)
    tail = _same(old_keys[: -rest - 1 : -1], new_keys[: -rest - 1 : -1]) if rest else 0
    found |= {len(old_keys) - at: len(new_keys) - at for at in range(1, tail + 1)}
    if len(found) < len(old_keys):
        _match_between(found, old_keys, new_keys, tail)
    return {old[a].number: new[b].number for a, b in found.items()}


def _same(old: Sequence[_Key], new: Sequence[_Key]) -> int:
    """How many keys are equal from the beginning."""
    count = 0
    for a, b in zip(old, new, strict=False):
        if a != b:
            break
        count += 1
    return count


def _match_between(found: dict[int, int], old: list[_Key], new: list[_Key], tail: int) -> None:
    """Match what is behind the equal beginning and before the equal end of so many keys."""
    begin = len(found) - tail
    old_part, new_part = old[begin : len(old) - tail], new[begin : len(new) - tail]
    old_counts, new_counts = Counter(old_part), Counter(new_part)
    # Where none came and none went, the order alone says which is which.
    changed = {key for key, count in old_counts.items() if new_counts[key] not in {0, count}}
    if changed and sum(count * new_counts[key] for key, count in old_counts.items()) <= MOST_PAIRS:
        for block in SequenceMatcher(None, old_part, new_part, autojunk=False).get_matching_blocks():
            for at in range(block.size):
                if old_part[block.a + at] in changed:
                    found[begin + block.a + at] = begin + block.b + at
    taken = set(found.values())
    left: defaultdict[_Key, list[int]] = defaultdict(list)
    for index in reversed(range(begin, begin + len(new_part))):
        if index not in taken:
            left[new[index]].append(index)
    for index in range(begin, begin + len(old_part)):
        if index not in found and left[old[index]]:
            found[index] = left[old[index]].pop()
