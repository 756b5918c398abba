"""Exceptions for measurements that do not count."""

from __future__ import annotations


class InvalidMeasurement(Exception):  # noqa: N818 - a judgement, not a failure
    """The measurement is not valid and is not stored as a result; the message says why."""


class NoAnswer(InvalidMeasurement):
    """The service accepts requests and does not answer them in time. The run goes on with the other contenders."""

    code = "no_answer"
