"""Rates and how sure they are: part ÷ whole, and its 95 % Wilson interval.

All ratios are 0..1. A rate does not exist while its whole is 0: the functions answer None, never 0 or NaN.

Source of the interval: E. B. Wilson, "Probable inference, the law of succession, and statistical inference",
JASA 22 (1927); unlike the textbook interval it stays inside 0..1 and is honest at 0 of 50 and at 3 of 20.
"""

from __future__ import annotations

from math import sqrt

#: Standard normal quantile of a two-sided 95 % interval.
Z95 = 1.959963984540054


def rate(part: int, whole: int) -> float | None:
    """Part ÷ whole as a ratio 0..1; None while the whole is 0.

    Raises:
        ValueError: The part is negative or more than the whole (a rate is never above 1).
    """
    _check(part, whole)
    return part / whole if whole else None


def wilson(part: int, whole: int) -> tuple[float, float] | None:
    """Lower and upper end of the 95 % Wilson interval of part ÷ whole; None while the whole is 0.

    Both ends are in 0..1 and enclose the rate; the lower one is 0 at 0 of n, the upper one 1 at n of n.

    Raises:
        ValueError: The part is negative or more than the whole.
    """
    _check(part, whole)
    if not whole:
        return None
    p = part / whole
    z2n = Z95 * Z95 / whole
    centre = p + z2n / 2
    half = Z95 * sqrt(p * (1 - p) / whole + z2n / (4 * whole))
    lower = (centre - half) / (1 + z2n) if part else 0.0
    upper = (centre + half) / (1 + z2n) if part < whole else 1.0
    return max(0.0, min(lower, p)), min(1.0, max(upper, p))  # rounding may not push an end past the rate


def _check(part: int, whole: int) -> None:
    if not 0 <= part <= whole:
        message = f"{part} of {whole}: a part is between 0 and its whole"
        raise ValueError(message)
