"""Files of ggml before GGUF: llama.cpp's GGML, GGMF 1 and GGJT 1 to 3, and rwkv.cpp's GGMF 100 and 101.

    llama  = magic, version (not in GGML), 7 sizes (u32), vocabulary, tensors up to the end
    word   = length (u32), bytes, score (float32; not in GGML)
    rwkv   = magic, version, vocabulary's size, width, layers, type (u32 each), tensors up to the end
    tensor = rank, length of the name, type (u32 each), sizes (u32, the innermost first), name, padding to 32 (GGJT), data

Source: llama.cpp's convert_llama_ggml_to_gguf.py and its llama_file_version; rwkv.cpp's rwkv_file_format.inc.
"""

from bessemer.wire.ggml.reader import File, Info, Llama, Rwkv, read
from bessemer.wire.ggml.types import Stored

__all__ = ["File", "Info", "Llama", "Rwkv", "Stored", "read"]
