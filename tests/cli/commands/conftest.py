"""Fixtures for the commands' tests: doctor's, which runs the command in this process or in another."""

from tests.doctor.conftest import environment, free_port, run_doctor, run_doctor_outside

__all__ = ["environment", "free_port", "run_doctor", "run_doctor_outside"]
