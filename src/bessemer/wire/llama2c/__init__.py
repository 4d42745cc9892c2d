"""llama2.c's files (github.com/karpathy/llama2.c): a model's sizes and the places of its weights, and its tokenizer.

    version 0 = sizes (7 int32; vocabulary < 0: the output matrix stands alone), float32 weights in `ORDER_0`
    version 1 = "ak42" (as a little-endian number), version, sizes, shared (u8), zeros up to 256, weights in `ORDER_1`
    version 2 = as 1, and after `shared` the group size (int32); norms are float32, matrices int8 and a scale per group
    tokenizer = longest token (u32), per token: score (float32), length (int32), bytes
"""

from bessemer.wire.llama2c.model import Model, Place, plausible, read
from bessemer.wire.llama2c.tokens import Token, read_tokens

__all__ = ["Model", "Place", "Token", "plausible", "read", "read_tokens"]
