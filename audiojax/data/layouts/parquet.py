"""Parquet exports as the Hugging Face hub writes them: a row has captions and, most often, the encoded sound in a column of its own."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from audiojax.data.layouts.clips import Fault, Sound
from audiojax.data.layouts.files import Files
from audiojax.data.layouts.published import split_of
from audiojax.data.layouts.records import Fields, Listing, Row, listing, row_of

LAYOUT = "parquet export"


def read_parquet(files: Files, set_name: str) -> Iterator[Listing]:
    """A listing of every parquet file with captions. The sounds stay on disk: only the other columns are read, a row group at a time.

    Args:
      set_name: of files that do not say themselves whose they are.
    """
    for path in files.of("parquet"):
        try:
            with pq.ParquetFile(files.root / path) as table:
                made = _read_file(table, files, path, set_name)
        except (pa.ArrowException, OSError, ValueError) as error:
            made = Listing(path, LAYOUT, "", (), (Fault("bad_list", path, " ".join(str(error).split())),))
        if made is not None:
            yield made


def _read_file(table: pq.ParquetFile, files: Files, path: str, set_name: str) -> Listing | None:
    schema = table.schema_arrow
    fields = Fields.among(schema.names)
    if fields is None:
        return None
    sound_column = next((name for name in (_bytes_of(schema.field(name)) for name in fields.file) if name), "")
    if sound_column and _all_null(table, sound_column):
        sound_column = ""
    owner = fields.set_of(path, set_name)
    rows = _rows(table, fields, files.root / path, path, owner, sound_column)
    return listing(path, LAYOUT, owner, rows)


def _rows(table: pq.ParquetFile, fields: Fields, file: Path, path: str, owner: str, sound_column: str) -> Iterator[Row | Fault]:
    columns = [column for field in table.schema_arrow if field.name in fields.names() for column in _columns_without_bytes(field)]
    split, number = split_of(path, owner), 0
    for batch in table.iter_batches(columns=columns):
        for record in batch.to_pylist():
            if not any(record.get(name) for name in (*fields.file, fields.youtube)):
                record[fields.file[0]] = f"{path}#{number}"
            row = row_of(record, fields, f"{path} row {number}", split, owner)
            if sound_column and isinstance(row, Row):
                row = replace(row, sound=Sound(file, f"{number}/{sound_column}"))
            yield row
            number += 1


def _bytes_of(field: pa.Field) -> str:
    """The column of encoded sound in a field: itself, or its "bytes"; "" where it has none."""
    if pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type):
        return field.name
    names = [field.type.field(i).name for i in range(field.type.num_fields)] if pa.types.is_struct(field.type) else []
    return f"{field.name}.bytes" if "bytes" in names else ""


def _columns_without_bytes(field: pa.Field) -> list[str]:
    if not _bytes_of(field):
        return [field.name]
    names = [field.type.field(i).name for i in range(field.type.num_fields)] if pa.types.is_struct(field.type) else []
    return [f"{field.name}.{name}" for name in names if name == "path"]


def _all_null(table: pq.ParquetFile, column: str) -> bool:
    """Whether the file says itself that the column is empty: an export of paths alone."""
    metadata = table.metadata
    for group in range(metadata.num_row_groups):
        chunks = (metadata.row_group(group).column(i) for i in range(metadata.num_columns))
        statistics = next((chunk.statistics for chunk in chunks if chunk.path_in_schema == column), None)
        if statistics is None or not statistics.has_null_count or statistics.null_count < metadata.row_group(group).num_rows:
            return False
    return metadata.num_rows > 0
