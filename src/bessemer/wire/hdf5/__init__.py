"""HDF5 files, read lazily: groups, attributes and datasets. Knows nothing of who wrote them.

Follows the HDF5 File Format Specification, version 3.0 (The HDF Group). Read are superblocks 0 to 3, object headers 1
and 2, old and new groups, compact and dense attributes, numbers, enumerations and strings (fixed and of variable
length), and data that is compact, contiguous (memory-mapped, no copy) or chunked with deflate, shuffle and fletcher32.
"""

from bessemer.wire.hdf5.file import Dataset, Group, Node, read

__all__ = ["Dataset", "Group", "Node", "read"]
