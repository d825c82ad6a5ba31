"""Tables of pictures, sound, text and numbers: opened, understood, parted, and read a row at a time."""

from sensorium.data.rows import Example, Rows
from sensorium.data.schema import Schema, infer_schema
from sensorium.data.sources import Source, open_source
from sensorium.data.splits import Splits, split

__all__ = ["Example", "Rows", "Schema", "Source", "Splits", "infer_schema", "open_source", "split"]
