"""export: every reading of a selection into a file or a pipe, however many there are."""

import json
import math
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any, Final

import click

from holdfast_hub.cli import exits, output
from holdfast_hub.cli.client import Client
from holdfast_hub.cli.readings import between
from holdfast_hub.cli.spans import duration

GROUP: Final = 50_000  # rows of a Parquet row group: what is in memory at once
_LARGEST: Final = 2**63


@click.command()
@click.option("--format", "kind", type=click.Choice(["csv", "jsonl", "parquet"]), default="csv", show_default=True,
              help="Parquet needs the extra holdfast-hub[parquet] and --out.")  # fmt: skip
@click.option("--site", metavar="NAME", help="Of this site.")
@click.option("--device", metavar="NAME", help="Of this device.")
@click.option("--metric", metavar="NAME", help="Of this metric.")
@click.option("--from", "since", metavar="TIME", help="Not before: RFC 3339, or an age such as 2h.")
@click.option("--to", "until", metavar="TIME", help="Before this time.")
@click.option("--every", metavar="TIME", help="What the readings of each span of this length came to: 5m, 1h, 1d.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Into this file; it is there when whole.")
@output.formatted("table", "json")
@click.pass_obj
def export(
    client: Client,
    kind: str,
    site: str | None,
    device: str | None,
    metric: str | None,
    since: str | None,
    until: str | None,
    every: str | None,
    out: Path | None,
    form: str,
) -> None:
    """Write every reading of a selection, series by series, each in the order of time. -o tells of what --out wrote."""
    if kind == "parquet":
        if every is not None:
            exits.usage("Parquet is of readings", "--format csv")
        _parquet()
        if out is None:
            exits.usage("Parquet is no text for a pipe", "--out readings.parquet")
    query: dict[str, str | int | None] = {"site": site, "device": device, "metric": metric, **between(since, until)}
    query["form"] = "csv" if kind == "csv" else "jsonl"
    query["every"] = None if every is None else duration(every) * 1000
    if out is None:
        for chunk in client.stream("/v1/export", **query):
            click.echo(chunk, nl=False)
        return
    write = _write_parquet if kind == "parquet" else _write_text
    if out.exists() and not out.is_file():
        exits.usage(f"--out {out} is no plain file", "leave it out for standard output")
    if not out.parent.is_dir():
        exits.usage(f"--out {out}: no such folder")
    unfinished = out.with_name(f".{out.name}.part")
    with ExitStack() as undo:
        undo.callback(unfinished.unlink, missing_ok=True)
        write(unfinished, client.stream("/v1/export", **query))
        size = unfinished.stat().st_size
        unfinished.rename(out)
    if form == "json":
        output.emit({"file": str(out), "bytes": size}, form)
    else:
        output.say(f"{out}: {size} bytes")


def _write_text(path: Path, chunks: Iterator[bytes]) -> None:
    with path.open("wb") as file:
        file.writelines(chunks)


def _parquet() -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        return exits.usage("Parquet needs pyarrow, which is not installed", "pip install 'holdfast-hub[parquet]'")
    return pyarrow


def _write_parquet(path: Path, chunks: Iterator[bytes]) -> None:
    """One row group in memory at a time. A value is in the column of its kind; `number` has every number and boolean."""
    arrow = _parquet()
    text = arrow.dictionary(arrow.int32(), arrow.string())
    plain: dict[str, Any] = {
        **dict.fromkeys(("site", "node", "device", "metric", "kind"), text),
        "number": arrow.float64(),
        "integer": arrow.int64(),
        "text": arrow.string(),
        **dict.fromkeys(("unit", "quality", "stream", "incarnation"), text),
        "sequence": arrow.int64(),
    }
    schema = arrow.schema([("time", arrow.timestamp("ms", tz="UTC")), *plain.items()])
    lines = _lines(chunks)
    with path.open("wb") as file, arrow.parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        while rows := [_typed(json.loads(line)) for line in islice(lines, GROUP)]:
            writer.write_table(arrow.Table.from_pylist(rows, schema=schema))


def _typed(row: dict[str, Any]) -> dict[str, Any]:
    kind, value = row["kind"], row.pop("value")
    row["text"] = value if kind == "text" else None
    row["integer"] = value if kind == "int" and -_LARGEST <= value < _LARGEST else None
    row["number"] = None if kind == "text" else math.nan if value is None else float(value)
    return row


def _lines(chunks: Iterator[bytes]) -> Iterator[bytes]:
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        yield from whole
    if rest:
        yield rest
