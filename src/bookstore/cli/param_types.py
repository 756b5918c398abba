"""Click parameter types for arguments with a unit: 5s, 3%, 512MB."""

from __future__ import annotations

import re
from typing import Final

import click

from bookstore.config import scalars

_BYTES: Final = {"": 1, "kb": 1000, "mb": 1000**2, "gb": 1000**3, "kib": 2**10, "mib": 2**20, "gib": 2**30}


class Duration(click.ParamType[float]):
    """A duration such as `5s`, converted to seconds."""

    name = "duration"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            return scalars.duration(value)
        except ValueError:
            self.fail(f"{value!r} is not a duration; allowed is a number with ms, s, m or h, such as 5s", param, ctx)


class Percent(click.ParamType[float]):
    """A percentage such as `3%`, converted to a share: 0.03."""

    name = "percent"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> float:
        match = re.fullmatch(r"([0-9]{1,3}(\.[0-9]{1,3})?)\s*%", value)
        if not match or not 0 < float(match[1]) <= 100:
            self.fail(f"{value!r} is not a percentage; allowed is more than 0% and up to 100%, such as 3%", param, ctx)
        return float(match[1]) / 100


class Size(click.ParamType[int]):
    """A size such as `512MB`, converted to bytes."""

    name = "size"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> int:
        match = re.fullmatch(r"([0-9]{1,12}(?:\.[0-9]{1,3})?)\s*([A-Za-z]*)", value)
        if not match or match[2].lower() not in _BYTES:
            self.fail(
                f"{value!r} is not a size; allowed is a number with MB, GB, MiB or GiB, such as 512MB", param, ctx
            )
        return int(float(match[1]) * _BYTES[match[2].lower()])
