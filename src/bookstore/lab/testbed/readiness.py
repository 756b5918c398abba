"""Whether a deployed service is ready: a GET of one path answers with a 2xx status."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

import msgspec

from bookstore.config.text import excerpt
from bookstore.exceptions import ConfigurationError
from bookstore.lab.testbed.deployment import (
    ANSWER_WITHIN_S,
    Answer,
    Deployment,
    DeploymentError,
    ExternalDeployment,
    UnansweredError,
)
from bookstore.lab.testbed.external import External
from bookstore.lab.workload.placeholders import fill_for_probe
from bookstore.lab.workload.spec import Workload

READY_WITHIN_S: Final = 30
"""For a service that the lab starts."""
RUNNING_WITHIN_S: Final = ANSWER_WITHIN_S
"""For a service that runs already."""
_POLL_S: Final = 0.05


class NotReadyError(DeploymentError):
    """The service answers, but not with a 2xx status at its ready path."""

    code = "not_ready"


def with_ready_path(service: External, workload: Workload) -> External:
    """Return the service with its ready path: its own, or the path of the workload's first GET. Without a GET it is
    empty: any answer at the service's address will do."""
    if service.ready:
        return service
    first = next((request for request in workload.requests if request.method == "GET"), None)
    path = fill_for_probe(service.requests.get(first.name, first.path)) if first else ""
    return msgspec.structs.replace(service, ready=path)


def address(service: External) -> Deployment:
    """Return the deployment of a service that runs already."""
    assert service.url
    return ExternalDeployment(None, urlsplit(service.url).port or 80, service.url)


def probe(service: External) -> None:
    """Send a service that runs already one request. Raises ConfigurationError with its answer unless it is ready."""
    deployment = address(service)
    try:
        answer = deployment.exchange(service.ready)
    except UnansweredError as error:
        raise ConfigurationError(f"--external {service.name}: {error}; restart the service") from None
    except DeploymentError as error:
        raise ConfigurationError(
            f"--external {service.name}: {error}; start the service first, or let the lab start it from a file with "
            f"the key external (docs/lab.md)"
        ) from None
    if not _is_ready(answer, service.ready):
        raise ConfigurationError(
            f"--external {service.name}: {_describe(deployment, service.ready, answer)}; allowed is a 2xx status; "
            f"name a path that returns one with --external-ready PATH"
        )


def wait_ready(
    deployment: Deployment, path: str, log: Callable[[], str] | None = None, within_s: float = READY_WITHIN_S
) -> None:
    """Wait until `path` answers 2xx, at most `within_s` seconds. No connection and a 5xx status may pass; another
    status is final.

    Raises DeploymentError if the service has ended, UnansweredError if it accepts requests and does not answer, and
    NotReadyError with its answer. Each has the text that `log` returns.
    """

    def log_suffix() -> str:
        return f":\n{log() or '(it wrote nothing)'}" if log else ""

    end_s = time.monotonic() + within_s
    while True:
        failure: DeploymentError | None = None
        if deployment.has_ended():
            code = deployment.process.returncode if deployment.process else None
            ended = "the service ended during startup" + (f" with exit code {code}" if code is not None else "")
            raise DeploymentError(ended + log_suffix())
        try:
            answer = deployment.exchange(path, timeout_s=max(0.5, min(ANSWER_WITHIN_S, end_s - time.monotonic())))
        except DeploymentError as error:
            failure = error
        else:
            if _is_ready(answer, path):
                return
            failure = NotReadyError(f"{_describe(deployment, path, answer)}; a service that is ready answers 2xx")
            if answer.status < http.client.INTERNAL_SERVER_ERROR:
                raise type(failure)(f"{failure}{log_suffix()}")
        if time.monotonic() > end_s:
            raise type(failure)(f"not ready within {within_s:g} s: {failure}{log_suffix()}")
        time.sleep(_POLL_S)


def _is_ready(answer: Answer, path: str) -> bool:
    return http.client.OK <= answer.status < http.client.MULTIPLE_CHOICES or not path


def _describe(deployment: Deployment, path: str, answer: Answer) -> str:
    """`GET http://127.0.0.1:8001/ answered 404 Not Found: {"detail":…`."""
    phrase = http.client.responses.get(answer.status, "")
    text = f"GET {deployment.base}{path} answered {answer.status} {phrase}".rstrip()
    if answer.location:
        return f"{text}, a redirect to {excerpt(answer.location)}"
    body = excerpt(" ".join(answer.body[:1000].decode(errors="replace").split()))
    return f"{text}: {body}" if body else text
