"""Numbers for people: bytes, durations, rates. Three digits that matter, then a unit; `-` for unknown."""

from __future__ import annotations

#: What stands for a number that is not known (yet); ASCII, since it also goes into log files.
UNKNOWN = "-"

_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400


def human_bytes(count: float | None) -> str:
    """``1_200_000_000`` -> ``1.2 GB``; decimal units, as disks are sold and `df -H` counts."""
    if count is None:
        return UNKNOWN
    number, prefix = _scaled(count, (" ", " k", " M", " G", " T", " P"))
    return f"{number}{prefix}B"


def human_duration(seconds: float | None) -> str:
    """``192.4`` -> ``3 m 12 s``: the two largest units; below ten seconds a decimal."""
    if seconds is None:
        return UNKNOWN
    if seconds < 9.95:
        return f"{max(seconds, 0.0):.1f}".removesuffix(".0") + " s"
    whole = round(seconds)
    for size, name, below, small in (
        (_DAY, "d", _HOUR, "h"),
        (_HOUR, "h", _MINUTE, "m"),
        (_MINUTE, "m", 1, "s"),
    ):
        if whole >= size:
            rest = whole % size // below
            return f"{whole // size} {name} {rest} {small}" if rest else f"{whole // size} {name}"
    return f"{whole} s"


def human_rate(per_second: float | None, unit: str) -> str:
    """``(41_234, "tokens")`` -> ``41.2k tokens/s``; slower than one per second -> ``0.25 units/s``."""
    if per_second is None:
        return UNKNOWN
    if per_second < 1:
        return f"{per_second:.2g} {unit}/s"
    number, prefix = _scaled(per_second, ("", "k", "M", "G", "T"))
    return f"{number}{prefix} {unit}/s"


def ago(seconds: float | None) -> str:
    """``12.3`` -> ``12 s ago``; clocks that disagree by a little never show a negative age."""
    if seconds is None:
        return UNKNOWN
    return "just now" if seconds < 1 else f"{human_duration(round(seconds))} ago"


def _scaled(number: float, prefixes: tuple[str, ...]) -> tuple[str, str]:
    """Divide by 1,000 until fewer than four digits are left of the point; whole numbers stay whole."""
    power = 0
    # 999.6 would round up to four digits, so it takes the next prefix.
    while abs(number) >= 999.5 and power < len(prefixes) - 1:
        number /= 1_000
        power += 1
    text = f"{number:.1f}" if abs(number) < 99.95 else f"{number:.0f}"
    return text.removesuffix(".0"), prefixes[power]
