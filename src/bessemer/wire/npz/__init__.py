"""numpy's .npz: a zip archive of .npy members, stored or deflated; nothing in it is unpickled.

    npy = "\\x93NUMPY", version (2 bytes), length of the header (u16; u32 from version 2 on), header, elements
    header = a Python dict of 'descr', 'fortran_order' and 'shape', as text

Source: numpy's NEP 1.
"""

from bessemer.wire.npz.reader import Array, Arrays, read
from bessemer.wire.npz.writer import head

__all__ = ["Array", "Arrays", "head", "read"]
