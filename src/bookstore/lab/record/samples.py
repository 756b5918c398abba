"""Every request of a run, in columns: a Parquet file with a row group for each profile in each round.

Parquet, because pandas, Polars, DuckDB and spreadsheets open it, and a million requests take some 10 MB.
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
"""The first request is planned at 0 s; a latency of half a minute is rounded to 2 µs."""


@dataclass(frozen=True, slots=True)
class Samples:
    """Requests in the order they were done, a row each. `done_s` is since the measured seconds began, so that
    the warm-up's are negative; `latency_ms` from the moment that was planned (open model) or sent (closed),
    `service_ms` from sending, both until the answer's last byte; `status` is 0 where no answer came; `kind` is the
    index of the request in the workload."""

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
        """Which succeeded. A 304 did: what a client has is what it would get."""
        good: NDArray[np.bool_] = ((self.status >= 200) & (self.status < 300)) | (self.status == 304)
        return good

    def where(self, chosen: NDArray[np.bool_]) -> Samples:
        return Samples(*(column[chosen] for column in self.columns))

    def measured(self, seconds: float, model: Literal["closed", "open"]) -> Samples:
        """The requests that count. Closed model: those done within the measured seconds. Open model: those planned in
        them, whenever they were done, or what is slow at the end would be left out."""
        if model == "closed":
            return self.between(0, seconds)
        planned_s = self.done_s - self.latency_ms.astype(np.float64) / 1000
        return self.where((planned_s >= -_ROUNDING_S) & (planned_s < seconds) & (self.done_s >= 0))

    def between(self, begin_s: float, end_s: float) -> Samples:
        """Those done from `begin_s` until before `end_s`."""
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
    """All of them, one after the other."""
    return Samples(*map(np.concatenate, zip(*(part.columns for part in parts), strict=True))) if parts else empty()


class Writer:
    """Appends to `folder`/samples.parquet; what is added is on disk, not in memory."""

    def __init__(self, folder: Path) -> None:
        import pyarrow as pa  # noqa: PLC0415 - takes a third of a second, which other commands need not wait for
        import pyarrow.parquet as pq  # noqa: PLC0415 - as above

        self._pa = pa
        named = [("round", pa.uint16()), ("profile", pa.dictionary(pa.int32(), pa.string()))]
        figures = [(name, pa.from_numpy_dtype(dtype)) for name, dtype in COLUMNS.items()]
        self._schema = pa.schema(named + figures)
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
        named = pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int32)), pa.array([profile]))
        columns = [pa.array(np.full(count, number, np.uint16)), named, *map(pa.array, samples.columns)]
        self._writer.write_table(pa.Table.from_arrays(columns, schema=self._schema))

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._writer.close()


def read(folder: Path, profile: str | None = None, number: int | None = None) -> Samples:
    """The samples of a run's folder: all, a profile's, or a profile's in one round. Raises ConfigurationError where the
    file is missing or is none."""
    import pyarrow as pa  # noqa: PLC0415 - as above
    import pyarrow.parquet as pq  # noqa: PLC0415 - as above

    asked = {"profile": profile, "round": number}
    wanted = [(name, "==", value) for name, value in asked.items() if value is not None]
    try:
        table = pq.read_table(folder / FILE, columns=list(COLUMNS), filters=wanted or None)
    except (OSError, pa.ArrowException) as error:
        raise ConfigurationError(f"{folder / FILE}: cannot be read: {str(error).splitlines()[0]}") from None
    return Samples(*(table[name].to_numpy().astype(dtype) for name, dtype in COLUMNS.items()))
