"""Q2_K to Q6_K: super-blocks of 256 weights. Encoders give the bytes of ggml's own (`ggml_quantize_chunk` as compiled for
x86-64), with and without an importance matrix; decoders its float32.
"""

from __future__ import annotations

import numpy as np

from bessemer.blocks.base import Codec
from bessemer.blocks.calls import decoder, encoder
from bessemer.blocks.k import q2, q3, q6, q45
from bessemer.wire.gguf.types import BY_NAME

_NONE = np.empty(0, np.float32)

CODECS: dict[str, Codec] = {
    "Q2_K": Codec(BY_NAME["Q2_K"], decoder(q2.decode), encoder(q2.encode, q2.encode_weighted)),
    "Q3_K": Codec(BY_NAME["Q3_K"], decoder(q3.decode), encoder(q3.encode, q3.encode_weighted)),
    "Q4_K": Codec(
        BY_NAME["Q4_K"],
        decoder(lambda data, out: q45.decode(data, out, False)),
        encoder(
            lambda x, out: q45.encode(x, out, 15, np.float32(-1), 20),
            lambda x, importance, out: q45.encode_weighted(x, importance, out, 15),
        ),
    ),
    "Q5_K": Codec(
        BY_NAME["Q5_K"],
        decoder(lambda data, out: q45.decode(data, out, True)),
        encoder(
            lambda x, out: q45.encode(x, out, 31, np.float32(-0.5), 15),
            lambda x, importance, out: q45.encode_weighted(x, importance, out, 31),
        ),
    ),
    "Q6_K": Codec(BY_NAME["Q6_K"], decoder(q6.decode), encoder(lambda x, out: q6.encode(x, _NONE, out), q6.encode)),
}
