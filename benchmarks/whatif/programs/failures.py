"""Exceptions that are kept with their tracebacks, which keep the frames, which keep the exceptions."""

import re


def check(text: str, fields: dict[str, object]) -> int:
    data = [text, fields, list(fields)]
    try:
        return int(re.sub(r"\s+", "", text)) + len(data)
    except ValueError as error:
        fields["error"] = error
        failed = error
        raise RuntimeError(f"not a number: {text}") from failed


errors: list[Exception] = []
for turn in range(50_000):
    words = {"turn": turn, "rest": [turn] * (turn % 7)}
    try:
        check(f"{turn} 7" if turn % 4 else f"x {turn}", words)
    except RuntimeError as problem:
        errors.append(problem)
    if len(errors) > 300:
        errors = []
