"""TFLite files: bytes to records and back. Import `reader`, `writer`, `records` or `schema`."""

from bessemer.wire.tflite.reader import read
from bessemer.wire.tflite.writer import set_min_runtime_version, write

__all__ = ["read", "set_min_runtime_version", "write"]
