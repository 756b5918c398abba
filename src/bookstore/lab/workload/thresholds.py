"""Thresholds in k6's syntax.

`p(95)<200`, `avg`, `med`, `min` and `max` are latencies in ms, and `rate<0.01` is the share of failed requests.
`throughput>100`, successful requests per second, is an extension of this lab.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from bookstore.config.text import excerpt
from bookstore.exceptions import ConfigurationError

ALLOWED: Final = (
    "p(95)<200, avg, med, min or max (latency in ms), rate<0.01 (share of failed requests) "
    "or throughput>100 (successful requests per second), with <, <=, >, >=, == or !="
)

_OPERATORS: Final[dict[str, Callable[[float, float], bool]]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
    "==": operator.eq, "===": operator.eq, "!=": operator.ne,
}  # fmt: skip
_EXPRESSION: Final = re.compile(
    r"\s*(?P<word>avg|med|min|max|rate|throughput|p\(\s*(?P<percent>[0-9]{1,3}(\.[0-9]{1,6})?)\s*\))"
    r"\s*(?P<operator><=?|>=?|={2,3}|!=)\s*(?P<limit>[0-9]{1,12}(\.[0-9]{1,12})?)\s*"
)


class Threshold(NamedTuple):
    """A parsed threshold. `word` is avg, med, min, max, p, rate or throughput; `percent` belongs to p."""

    expression: str
    word: str
    percent: float
    operator: str
    limit: float

    def holds(self, value: float) -> bool:
        return _OPERATORS[self.operator](value, self.limit)


def parse(expression: str) -> Threshold:
    """Parse an expression. Raises ValueError whose text describes the allowed syntax."""
    match = _EXPRESSION.fullmatch(expression)
    if not match or (match["percent"] and float(match["percent"]) > 100):
        raise ValueError(ALLOWED)
    word = "p" if match["percent"] else match["word"]
    return Threshold(expression, word, float(match["percent"] or 0), match["operator"], float(match["limit"]))


def validate(expressions: Sequence[str], place: str) -> list[str]:
    """Return the expressions unchanged. Raises ConfigurationError with `place` if one cannot be parsed."""
    for expression in expressions:
        try:
            parse(expression)
        except ValueError as error:
            raise ConfigurationError(f"{place}: found '{excerpt(expression)}'; allowed is {error}") from None
    return list(expressions)
