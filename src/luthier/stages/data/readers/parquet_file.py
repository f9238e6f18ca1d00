"""Read Parquet batch by batch, so that memory holds some hundred rows of it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import BinaryIO, Final

import pyarrow as pa
import pyarrow.parquet as pq

from luthier.foundation.core.errors import DataError, Problem, shorten
from luthier.stages.data.readers.cells import read_cells, to_plain
from luthier.stages.data.readers.reading import Reading, Record

BATCH_ROWS: Final = 256
MAGIC: Final = b"PAR1"


def iterate_parquet(stream: BinaryIO, reading: Reading) -> Iterator[Record]:
    """Yield each row with its number from 1.

    Raises:
        DataError: E-DAT-033 for a file that is cut off, damaged, packed once more or no Parquet.
    """
    if not isinstance(stream, io.BufferedReader) or not isinstance(stream.raw, io.FileIO):
        raise _refuse(reading, "a packed stream", "unpack it first: Parquet is compressed inside and read from its end")
    number = 0
    try:
        file = pq.ParquetFile(stream)
        for batch in file.iter_batches(batch_size=BATCH_ROWS, use_threads=False):
            for record in batch.to_pylist(maps_as_pydicts="strict"):
                number += 1
                origin = f"{reading.path} line {number}"
                plain = to_plain(record, origin)
                yield number, plain if isinstance(plain, Problem) else read_cells(plain, reading.columns, origin)
    except (pa.ArrowException, OSError, KeyError) as error:
        if isinstance(error, DataError):
            raise
        raise _refuse(
            reading, shorten(str(error)), f"write {reading.path.name} again, or copy it again whole"
        ) from error


def _refuse(reading: Reading, got: str, fix: str) -> DataError:
    return DataError(
        "E-DAT-033",
        "the file cannot be read as Parquet",
        got=got,
        origin=str(reading.path),
        allowed="a whole Parquet file without encryption",
        fix=fix,
    )
