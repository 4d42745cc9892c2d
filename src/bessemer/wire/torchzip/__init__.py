"""PyTorch's files of weights, read without unpickling: nothing that a file names is ever imported or called.

    file      = zip | legacy | a bare pickle of numpy arrays
    zip       = NAME/data.pkl, NAME/data/KEY (one storage each), NAME/byteorder, NAME/version
    legacy    = pickles of MAGIC, 1001, the machine's facts, the object, the storages' keys; per key its length and bytes

A pickle is a program for a stack machine. Ours (`machine`) knows plain containers, numbers and texts, and the few names
that rebuild tensors (`names`); every other name is noted and stands for an opaque object, so that all can be told at once.
"""

from bessemer.wire.torchzip.machine import ForeignNames
from bessemer.wire.torchzip.read import State, read
from bessemer.wire.torchzip.tensors import Quantizer, Tensor, Unread

__all__ = ["ForeignNames", "Quantizer", "State", "Tensor", "Unread", "read"]
