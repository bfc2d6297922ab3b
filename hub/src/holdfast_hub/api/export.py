"""Readings as a stream of text: JSON lines or CSV, a page in memory at a time."""

import csv
import io
import math
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, TypeVar

import msgspec

from holdfast_hub.operations.history import Page
from holdfast_hub.store.buckets import Bucket

COLUMNS: Final = (
    "time",
    "site",
    "node",
    "device",
    "metric",
    "kind",
    "value",
    "unit",
    "quality",
    "stream",
    "incarnation",
    "sequence",
)
SPANS: Final = (
    "time",
    "until",
    "site",
    "node",
    "device",
    "metric",
    "unit",
    "count",
    "bad",
    "min",
    "max",
    "mean",
    "last",
    "tier",
    "lost",
)
TYPES: Final = {"jsonl": "application/jsonl", "csv": "text/csv; charset=utf-8"}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_ENCODER: Final = msgspec.json.Encoder()
P = TypeVar("P", Page, list[Bucket])
_YEARS: Final = (-62_135_596_800_000, 253_402_300_800_000)  # milliseconds: what a calendar has dates for


async def begun(pages: AsyncIterator[P]) -> AsyncIterator[P]:
    """Return the pages once the first is there: what is wrong with a question is said before its answer has begun."""
    first = await anext(pages, None)

    async def rest() -> AsyncIterator[P]:
        if first is not None:
            yield first
        async for page in pages:
            yield page

    return rest()


async def text(pages: AsyncIterator[Page], form: Literal["jsonl", "csv"]) -> AsyncIterator[bytes]:
    """Yield the pages in a format; CSV begins with a line of titles."""
    write: Callable[[Page], bytes] = _csv if form == "csv" else _lines
    if form == "csv":
        yield _written([COLUMNS])
    async for page in pages:
        yield write(page)


async def spans(pages: AsyncIterator[list[Bucket]], form: Literal["jsonl", "csv"]) -> AsyncIterator[bytes]:
    """Yield buckets in a format; CSV begins with a line of titles."""
    if form == "csv":
        yield _written([SPANS])
    async for page in pages:
        rows = [[getattr(bucket, name) for name in SPANS] for bucket in page]
        if form == "csv":
            yield _written([(_moment(time), _moment(until), *rest) for time, until, *rest in rows])
        else:
            yield b"".join(_ENCODER.encode(dict(zip(SPANS, row, strict=True))) + b"\n" for row in rows)


def _lines(page: Page) -> bytes:
    """JSON has no "not a number" and nothing infinite: null. `kind` says that a number was meant."""
    return b"".join(_ENCODER.encode(dict(zip(COLUMNS, row, strict=True))) + b"\n" for row in _rows(page))


def _csv(page: Page) -> bytes:
    return _written([(_moment(time), *rest) for time, *rest in _rows(page)])


def _rows(page: Page) -> list[tuple[Any, ...]]:
    one = page.series
    names = {number: (each.name, each.incarnation) for number, each in page.streams.items()}
    return [
        (
            row.time,
            one.site,
            one.node,
            one.device,
            one.metric,
            one.kind,
            row.value,
            one.unit,
            one.quality,
            *names.get(row.stream, ("", "")),
            row.sequence,
        )
        for row in page.rows
    ]


def _written(rows: list[Any]) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerows([[_cell(value) for value in row] for row in rows])
    return out.getvalue().encode("utf-8", "replace")


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    return value


def _moment(milliseconds: int) -> str:
    if not _YEARS[0] <= milliseconds < _YEARS[1]:
        return str(milliseconds)
    moment = _EPOCH + timedelta(milliseconds=milliseconds)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
