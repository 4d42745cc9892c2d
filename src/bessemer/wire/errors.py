"""The one error that reading or writing a file's bytes may raise."""

from __future__ import annotations


class WireError(ValueError):
    """The bytes break their format, or a record cannot be written in it.

    `what` is the message; `offset` the byte in the file where it was seen (None when writing);
    `where` the table and field, as "Tensor.shape".
    """

    def __init__(self, what: str, *, offset: int | None = None, where: str = "") -> None:
        self.what = what
        self.offset = offset
        self.where = where
        place = f" in {where}" if where else ""
        at = f" at byte {offset}" if offset is not None else ""
        super().__init__(f"{what}{place}{at}")
