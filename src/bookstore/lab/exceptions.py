"""The exception for measurements that do not count."""

from __future__ import annotations


class InvalidMeasurement(Exception):  # noqa: N818 - a judgement, not a failure
    """The measurement is not valid and is not stored as a result; the message says why."""
