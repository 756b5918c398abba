"""Fixtures for the tests of commands; those of doctor run the command in this process or in another one."""

from tests.doctor.conftest import environment, free_port, run_doctor, run_doctor_outside

__all__ = ["environment", "free_port", "run_doctor", "run_doctor_outside"]
