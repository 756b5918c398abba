"""Every request of a run in columns: a Parquet file with a row group for each profile in each round.

Parquet, because pandas, Polars, DuckDB and spreadsheets open it, and a million requests take about 10 MB.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from bookstore.exceptions import ConfigurationError

FILE: Final = "samples.parquet"

_ROUNDING_S: Final = 1e-5
"""The first request is planned at 0 s; a float32 latency of half a minute is rounded to 2 µs."""


@dataclass(frozen=True, slots=True)
class Samples:
    """Requests in order of completion, one row each.

    `done_s` is in seconds since the measured time began, negative in the warm-up. `latency_ms` counts from the
    planned moment (open model) or from sending (closed model), `service_ms` from sending; both end with the last byte
    of the response. `status` is 0 without a response. `kind` is the request's index in the workload.
    """

    done_s: NDArray[np.float64]
    latency_ms: NDArray[np.float32]
    service_ms: NDArray[np.float32]
    status: NDArray[np.int16]
    kind: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.done_s)

    @property
    def columns(self) -> list[NDArray[Any]]:
        return [getattr(self, name) for name in COLUMNS]

    @property
    def ok(self) -> NDArray[np.bool_]:
        """Mask of the successful requests; 304 is a success, because the client already has the current content."""
        ok: NDArray[np.bool_] = ((self.status >= 200) & (self.status < 300)) | (self.status == 304)
        return ok

    def where(self, chosen: NDArray[np.bool_]) -> Samples:
        return Samples(*(column[chosen] for column in self.columns))

    def measured(self, seconds: float, model: Literal["closed", "open"]) -> Samples:
        """Return the requests that count.

        Closed model: those completed within the measured `seconds`. Open model: those planned within them, however
        late they completed; otherwise slow requests at the end would be left out.
        """
        if model == "closed":
            return self.between(0, seconds)
        planned_s = self.done_s - self.latency_ms.astype(np.float64) / 1000
        return self.where((planned_s >= -_ROUNDING_S) & (planned_s < seconds) & (self.done_s >= 0))

    def between(self, begin_s: float, end_s: float) -> Samples:
        """Return the requests completed from `begin_s` (inclusive) to `end_s` (exclusive)."""
        return self.where((self.done_s >= begin_s) & (self.done_s < end_s))


COLUMNS: Final = {
    "done_s": np.float64,
    "latency_ms": np.float32,
    "service_ms": np.float32,
    "status": np.int16,
    "kind": np.uint8,
}


def empty() -> Samples:
    return Samples(*(np.empty(0, dtype) for dtype in COLUMNS.values()))


def concatenate(parts: Sequence[Samples]) -> Samples:
    """Return all parts, one after the other."""
    return Samples(*map(np.concatenate, zip(*(part.columns for part in parts), strict=True))) if parts else empty()


class Writer:
    """Appends to `folder`/samples.parquet; added samples are written to disk at once."""

    def __init__(self, folder: Path) -> None:
        import pyarrow as pa  # noqa: PLC0415 - takes a third of a second, which other commands save
        import pyarrow.parquet as pq  # noqa: PLC0415 - as above

        self._pa = pa
        labels = [("round", pa.uint16()), ("profile", pa.dictionary(pa.int32(), pa.string()))]
        figures = [(name, pa.from_numpy_dtype(dtype)) for name, dtype in COLUMNS.items()]
        self._schema = pa.schema(labels + figures)
        self._writer: Any = pq.ParquetWriter(
            folder / FILE,
            self._schema,
            compression="zstd",
            use_dictionary=["round", "profile", "status", "kind"],
            use_byte_stream_split=["done_s", "latency_ms", "service_ms"],  # floats of alike size pack better so
        )

    def add(self, number: int, profile: str, samples: Samples) -> None:
        pa = self._pa
        count = len(samples)
        label = pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int32)), pa.array([profile]))
        columns = [pa.array(np.full(count, number, np.uint16)), label, *map(pa.array, samples.columns)]
        self._writer.write_table(pa.Table.from_arrays(columns, schema=self._schema))

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._writer.close()


def read(folder: Path, profile: str | None = None, number: int | None = None) -> Samples:
    """Return the samples in a run's folder: all, one profile's, or one profile's in one round.

    Raises ConfigurationError if the file is missing or unreadable.
    """
    import pyarrow as pa  # noqa: PLC0415 - as above
    import pyarrow.parquet as pq  # noqa: PLC0415 - as above

    selected = {"profile": profile, "round": number}
    filters = [(name, "==", value) for name, value in selected.items() if value is not None]
    try:
        table = pq.read_table(folder / FILE, columns=list(COLUMNS), filters=filters or None)
    except (OSError, pa.ArrowException) as error:
        raise ConfigurationError(f"{folder / FILE}: cannot be read: {str(error).splitlines()[0]}") from None
    return Samples(*(table[name].to_numpy().astype(dtype) for name, dtype in COLUMNS.items()))
