"""Numbers as people read them: what is absent is a dash, never a zero."""

from __future__ import annotations

DASH = "–"
MINUS = "−"


def number(value: float | None, unit: str = "share", *, signed: bool = False, digits: int | None = None) -> str:
    """`0.624`, `−1.8`, `–` when absent. Shares and nats have three decimals, words one, others as many as they need."""
    if value is None:
        return DASH
    if value != value or value in (float("inf"), float("-inf")):
        return "not finite"
    text = f"{abs(value):.{_decimals(value, unit) if digits is None else digits}f}"
    if float(text) == 0:
        return text
    return (MINUS if value < 0 else "+" if signed else "") + text


def _decimals(value: float, unit: str) -> int:
    if unit in ("words", "tokens", "characters"):
        return 1
    if unit in ("share", "nats"):
        return 3
    return 0 if abs(value) >= 1000 else 1 if abs(value) >= 100 else 2 if abs(value) >= 10 else 3


def interval(low: float | None, high: float | None, unit: str = "share", *, signed: bool = False) -> str:
    """`[0.571, 0.662]`, with a dash for the end that is open; a dash alone when there is no interval."""
    if low is None and high is None:
        return DASH
    return f"[{number(low, unit, signed=signed)}, {number(high, unit, signed=signed)}]"


def duration(seconds: float | None) -> str:
    """`0.4 s`, `41 s`, `3 min 05 s`, `2 h 07 min`."""
    if seconds is None:
        return DASH
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def memory(mib: float | None) -> str:
    """`812 MiB`, `1.6 GiB`."""
    if mib is None:
        return DASH
    return f"{mib:.0f} MiB" if mib < 1024 else f"{mib / 1024:.1f} GiB"


def count(n: int | float | None) -> str:
    """`12,408`."""
    return DASH if n is None else f"{n:,}"


def short(digest: str | None) -> str:
    """The first twelve digits of a digest."""
    return DASH if not digest else digest.removeprefix("sha256:")[:12]
