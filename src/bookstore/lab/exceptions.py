"""What makes a measurement invalid: nothing is stored then, and there is no figure to believe."""

from __future__ import annotations


class InvalidMeasurement(Exception):  # noqa: N818 - it is a judgement, not an accident
    """The measurement is not valid; its text says why."""
