"""Parquet, Arrow, and what Hugging Face `datasets` saves or fetches: batches in, canonical columns out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sensorium.data.readers.chunks import Chunk, canonical, from_values
from sensorium.errors import DataError

SMALL, LARGE = 512, 8192  # rows a batch, with and without media bytes


def read_parquet(paths: list[Path]) -> Iterator[Chunk]:
    """Chunks of Parquet files."""
    for number, path in enumerate(paths):
        try:
            with pq.ParquetFile(path, memory_map=True, pre_buffer=False) as file:
                size = _batch_rows(file.schema_arrow)
                for batch in file.iter_batches(batch_size=size, use_threads=False):
                    yield chunk_of(number, batch, file.schema_arrow.metadata)
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise _unreadable(path, "Parquet", error) from None


def read_arrow(paths: list[Path]) -> Iterator[Chunk]:
    """Chunks of Arrow IPC files, of the random-access or the stream kind."""
    for number, path in enumerate(paths):
        try:
            with pa.memory_map(str(path)) as mapped:
                if mapped.read(6) == b"ARROW1":
                    file = pa.ipc.open_file(mapped)
                    batches: Iterator[pa.RecordBatch] = (file.get_batch(i) for i in range(file.num_record_batches))
                    schema = file.schema
                else:
                    mapped.seek(0)
                    stream = pa.ipc.open_stream(mapped)
                    batches, schema = iter(stream), stream.schema
                yield from _sliced(number, batches, schema)
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise _unreadable(path, "Arrow", error) from None


def read_datasets(parts: dict[str, Any]) -> Iterator[Chunk]:
    """Chunks of `datasets.Dataset`s by split name; several splits gain a column ``split``."""
    for number, (split, part) in enumerate(parts.items()):
        schema = part.features.arrow_schema
        for table in part.with_format("arrow").iter(batch_size=_batch_rows(schema)):
            chunk = chunk_of(number, table, schema.metadata)
            if len(parts) > 1 and "split" not in chunk.columns:
                chunk.columns["split"] = pa.array([split] * chunk.rows, pa.large_string())
            yield chunk


def open_datasets(source: str, folder: Path | None) -> dict[str, Any]:
    """The `datasets.Dataset`s of a folder that `save_to_disk` wrote or, where ``folder`` is None, of a hub id.

    Raises:
        DataError: the folder is damaged, or the hub is out of reach or lacks the data set.
    """
    import datasets

    datasets.disable_progress_bars()
    if folder is not None:
        try:
            found = datasets.load_from_disk(str(folder))
        except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
            raise _unreadable(folder, "saved data set", error) from None
    else:
        found = _from_hub(source)
    return dict(found) if isinstance(found, dict) else {"train": found}


def _from_hub(source: str) -> Any:
    import datasets
    from huggingface_hub import HfApi, constants

    mend = "check the path; a hub id needs the network, or HF_HUB_OFFLINE=1 and a copy in its cache"
    try:
        if not constants.HF_HUB_OFFLINE:
            HfApi().dataset_info(source, timeout=10)  # one question first: load_dataset retries for half a minute
        return datasets.load_dataset(source)
    except Exception as error:  # noqa: BLE001 - the hub's client raises errors of half a dozen libraries
        what = f"no such file, folder or bundled data set, and no data set of that name on the hub ({type(error).__name__})"
        raise DataError(what, where=source, mend=mend) from None


def chunk_of(file: int, batch: pa.RecordBatch | pa.Table, metadata: dict[bytes, bytes] | None) -> Chunk:
    """A batch as canonical columns; class numbers of `datasets` become class names.

    Raises:
        pyarrow.ArrowInvalid: offsets or texts of a damaged file point nowhere; unchecked they would crash the process.
    """
    batch.validate(full=True)
    columns = {}
    for i, name in enumerate(batch.schema.names):
        if name in columns:
            raise DataError(f"two columns are named {name}", mend="give each column its own name")
        columns[name] = canonical(batch.column(i), name)
    for name, classes in class_names(metadata).items():
        if name in columns and pa.types.is_integer(columns[name].type):
            numbers = columns[name].to_pylist()
            columns[name] = from_values(
                [classes[n] if n is not None and 0 <= n < len(classes) else None for n in numbers]
            )
    return Chunk(file, columns, batch.num_rows)


def class_names(metadata: dict[bytes, bytes] | None) -> dict[str, list[str]]:
    """Class names by column, from the metadata that `datasets` writes into Arrow schemas."""
    try:
        features = json.loads((metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        return {
            name: [str(n) for n in feature["names"]]
            for name, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def _sliced(number: int, batches: Iterator[pa.RecordBatch], schema: pa.Schema) -> Iterator[Chunk]:
    size = _batch_rows(schema)
    for batch in batches:
        for start in range(0, batch.num_rows, size):
            yield chunk_of(number, batch.slice(start, size), schema.metadata)


def _batch_rows(schema: pa.Schema) -> int:
    return LARGE if all(not pa.types.is_nested(t) and not _is_binary(t) for t in schema.types) else SMALL


def _is_binary(type_: pa.DataType) -> bool:
    return pa.types.is_binary(type_) or pa.types.is_large_binary(type_)


def _unreadable(path: Path, format_: str, error: Exception) -> DataError:
    cause = str(error).split("\n")[0][:160]
    return DataError(
        f"not a readable {format_} file ({cause})", where=str(path), mend="write the file again, or set data.format"
    )
