"""Tokenizers: read from the files of Hugging Face, SentencePiece and GGUF, written back, and proven equal.

`from_directory` and `from_gguf` read, `to_gguf` and `write_files` write, `encoder` tokenizes as the source does and
`flat_encoder` as llama.cpp does; `differences` holds two encoders against each other on the hard strings of `corpus`.
"""

from bessemer.tokenization.corpus import Difference, corpus, differences
from bessemer.tokenization.directory import from_directory
from bessemer.tokenization.encoder import encoder, flat_encoder, readable
from bessemer.tokenization.gguf import from_gguf, to_gguf
from bessemer.tokenization.proof import proof_texts
from bessemer.tokenization.write import write_files

__all__ = [
    "Difference", "corpus", "differences", "encoder", "flat_encoder", "from_directory", "from_gguf",
    "proof_texts", "readable", "to_gguf", "write_files",
]  # fmt: skip
