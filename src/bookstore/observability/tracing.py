"""Whether OTEL_* asks for traces, and their way to a collector: off, nothing of OpenTelemetry is imported.

The names and meanings of the variables are those of OpenTelemetry's specification, whose SDK reads them. What it
would only complain about in each worker's log, or drop, is refused here before anything starts.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import socket
import sys
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from bookstore.config.text import excerpt
from bookstore.exceptions import ConfigurationError
from bookstore.profile.engine_profile import EngineProfile

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

FLUSH_WITHIN_S: Final = 3.0
"""How long a stop waits until the collector has the last spans."""

_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_HEADERS: Final = ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS")
_PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_NEEDED: Final = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")

# The SDK logs a header that it cannot read, with its value: this is what it can read.
_SAMPLERS: Final = ("always_on", "always_off", "traceidratio")
_RATIO: Final = re.compile(r"[0-9]{1,9}|[0-9]{0,9}\.[0-9]{1,18}")
_LIMIT: Final = re.compile(r"OTEL_\w+_LIMIT")
_HEADER: Final = re.compile(r'[^ "(),/:;<=>?@[\]\\{}]+ *=[^",;\\]*')


def is_enabled(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether `environ` asks for traces. Raises ConfigurationError, before anything starts, where they cannot be
    had."""
    given = {name: text.strip() for name, text in environ.items() if name.startswith("OTEL_") and text.strip()}
    exporter = given.get("OTEL_TRACES_EXPORTER", "").lower()
    if given.get("OTEL_SDK_DISABLED", "").lower() == "true" or exporter == "none":
        return False
    if not (exporter or given.keys() & set(_ENDPOINTS)):
        return False
    if exporter not in {"", "otlp", "console"}:
        raise ConfigurationError(f"OTEL_TRACES_EXPORTER: found '{excerpt(exporter)}'; allowed are otlp, console, none")
    for name in given.keys() & set(_PROTOCOLS):
        if given[name] != "http/protobuf":
            raise ConfigurationError(
                f"{name}: found '{excerpt(given[name])}'; allowed is http/protobuf: port 4318 of a collector"
            )
    for name in given.keys() & set(_ENDPOINTS):
        _check_endpoint(name, given[name])
    for name in given.keys() & set(_HEADERS):
        headers = [header.strip() for header in given[name].split(",") if header.strip()]
        if not all(_HEADER.fullmatch(one) and one.isascii() and one.isprintable() for one in headers):
            raise ConfigurationError(f"{name}: is not what it has to be; allowed is NAME=value,NAME=value, URL-encoded")
    if any(find_spec(name) is None for name in _NEEDED):
        raise ConfigurationError(
            "OTEL_… asks for traces, but OpenTelemetry is not installed; in a checkout pip install '.[tracing]', "
            "or set OTEL_SDK_DISABLED=true"
        )
    _check_sdk(given)
    return True


def _check_sdk(given: Mapping[str, str]) -> None:
    """What the SDK would fail on in each worker, or go on without: a misspelt sampler takes every request."""
    sampler = given.get("OTEL_TRACES_SAMPLER", "parentbased_always_on").lower()
    if sampler.removeprefix("parentbased_") not in _SAMPLERS:
        raise ConfigurationError(
            f"OTEL_TRACES_SAMPLER: found '{excerpt(sampler)}'; allowed are {', '.join(_SAMPLERS)}, "
            f"and parentbased_ before each of them"
        )
    ratio = given.get("OTEL_TRACES_SAMPLER_ARG", "1")
    if sampler.endswith("ratio") and not (_RATIO.fullmatch(ratio) and float(ratio) <= 1):
        raise ConfigurationError(
            f"OTEL_TRACES_SAMPLER_ARG: found '{excerpt(ratio)}'; allowed is a number from 0 to 1, such as 0.01"
        )
    for name, text in given.items():
        least = 0 if _LIMIT.fullmatch(name) else 1 if name.startswith("OTEL_BSP_") else None
        if least is not None and not (text.isascii() and text.isdigit() and len(text) <= 9 and int(text) >= least):
            raise ConfigurationError(f"{name}: found '{excerpt(text)}'; allowed is a whole number from {least} on")
    queue = int(given.get("OTEL_BSP_MAX_QUEUE_SIZE", "2048"))
    if (batch := int(given.get("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "512"))) > queue:
        raise ConfigurationError(
            f"OTEL_BSP_MAX_EXPORT_BATCH_SIZE: found {batch}; allowed is no more than OTEL_BSP_MAX_QUEUE_SIZE, {queue}"
        )


def _check_endpoint(name: str, text: str) -> None:
    """Without a secret, which would stand in messages about a collector that is not there."""
    try:
        parts = urlsplit(text)
        fits = parts.scheme in {"http", "https"} and parts.hostname and (parts.port or 1)
    except ValueError:
        fits = False
    if not fits or "@" in text or "?" in text or "#" in text:
        raise ConfigurationError(
            f"{name}: is not what it has to be; allowed is http://HOST:PORT, secrets go into {_HEADERS[1]}"
        )


def make_provider(profile: EngineProfile) -> TracerProvider:
    """What makes the spans of this process, by the sampler and limits that the environment names."""
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource  # noqa: PLC0415 - only where asked for
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415 - as above

    ours = {
        "service.name": "bookstore",
        "service.version": version("bookstore"),
        "service.instance.id": f"{socket.gethostname()}/{os.getpid()}",
        "bookstore.profile": profile.name,
    }
    # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES have the last word.
    resource = Resource.create(ours | dict(OTELResourceDetector().detect().attributes))
    return TracerProvider(resource=resource, shutdown_on_exit=False)


@asynccontextmanager
async def exporting(provider: TracerProvider, environ: Mapping[str, str] = os.environ) -> AsyncIterator[None]:
    """Sends the provider's spans, from a thread, for as long as the `async with` block lasts. At its end the last
    ones are sent, or given up after FLUSH_WITHIN_S."""
    from opentelemetry.sdk.trace.export import (  # noqa: PLC0415 - only where asked for
        BatchSpanProcessor,
        ConsoleSpanExporter,
        SpanExporter,
    )

    exporter: SpanExporter
    if environ.get("OTEL_TRACES_EXPORTER", "").strip().lower() == "console":
        exporter = ConsoleSpanExporter(out=sys.stderr)  # stdout is for data
    else:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - as above

        logging.getLogger("opentelemetry.exporter").setLevel(logging.ERROR)  # that a batch failed, not each try
        exporter = OTLPSpanExporter()
    provider.add_span_processor(BatchSpanProcessor(exporter))
    try:
        yield
    finally:
        flushing = threading.Thread(target=provider.shutdown, name="traces", daemon=True)
        flushing.start()
        await asyncio.to_thread(flushing.join, FLUSH_WITHIN_S)
        if flushing.is_alive():
            exporter.shutdown()  # it tries no more
