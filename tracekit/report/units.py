"""Numbers for people: bytes, counts, durations and shares."""

from __future__ import annotations

_BYTE_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def human_bytes(count: int) -> str:
    """``1536`` as ``1.5 KiB``: binary units, three or four digits."""
    sign, size = ("-", -count) if count < 0 else ("", count)
    if size < 1024:
        return f"{sign}{size} B"
    value, unit = float(size), 0
    # 1023.95 KiB would be printed as 1024.0 KiB, so that the next unit begins a little early.
    while value >= 1023.95 and unit < len(_BYTE_UNITS) - 1:
        value /= 1024
        unit += 1
    return f"{sign}{value:.1f} {_BYTE_UNITS[unit]}"


def human_change(count: int) -> str:
    """A difference in bytes, with its sign: ``+1.5 KiB``."""
    return f"+{human_bytes(count)}" if count > 0 else human_bytes(count)


def human_count(count: int) -> str:
    """``1234567`` as ``1,234,567``."""
    return f"{count:,}"


def signed_count(count: int) -> str:
    """A difference of counts, with its sign: ``+1,234``."""
    return f"{count:+,}" if count else "0"


def human_seconds(seconds: float) -> str:
    """A duration given in seconds: ``850 us``, ``20.0 ms``, ``1.50 s``, ``2 min 05 s``, ``1 h 02 min``."""
    size = abs(seconds)
    sign = "-" if seconds < 0 else ""
    if size < 0.9995e-3:
        return f"{sign}{size * 1e6:.0f} us" if size else "0 s"
    if size < 0.99995:
        return f"{sign}{size * 1e3:.1f} ms"
    if size < 59.995:
        return f"{sign}{size:.2f} s"
    minutes, rest = divmod(round(size), 60)
    if minutes < 60:
        return f"{sign}{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{sign}{hours} h {minutes:02d} min"


def human_share(part: int, whole: int) -> str:
    """``part`` of ``whole`` in percent; ``-`` when there is no whole."""
    return f"{100 * part / whole:.1f}%" if whole else "-"


def plural(count: int, one: str, many: str = "") -> str:
    """``1 block``, ``2,000 blocks``."""
    return f"{human_count(count)} {one if count == 1 else many or one + 's'}"
