"""Models through which a mask travels, or falls, as Keras has it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Make = Callable[[Any, Any], Any]
"""(layers, embedded (batch, 5, 3) with a mask) -> the output."""


def _inside(kind: str) -> Make:
    """A model inside that returns sequences, read by a layer that heeds masks."""

    def make(keras: Any, x: Any) -> Any:
        layers = keras.layers
        chain = [layers.LSTM(4, return_sequences=True), layers.Dense(3)]
        if kind == "Sequential":
            inner = keras.Sequential([keras.Input((5, 3)), *chain])
        else:
            held = keras.Input((5, 3))
            inner = keras.Model(held, chain[1](chain[0](held)))
        return layers.GRU(2)(inner(x))

    return make


MODELS: dict[str, Make] = {
    "lstm": lambda k, x: k.layers.LSTM(4)(x),
    "sequences": lambda k, x: k.layers.GRU(3)(k.layers.LSTM(4, return_sequences=True)(x)),
    "bidirectional": lambda k, x: k.layers.LSTM(2)(k.layers.Bidirectional(k.layers.LSTM(3, return_sequences=True))(x)),
    "distributed": lambda k, x: k.layers.LSTM(2)(k.layers.TimeDistributed(k.layers.Dense(3))(x)),
    "dense": lambda k, x: k.layers.LSTM(2)(k.layers.Dense(3, activation="relu")(k.layers.Dropout(0.1)(x))),
    "normalized": lambda k, x: k.layers.LSTM(2)(k.layers.LayerNormalization()(x)),
    "average": lambda k, x: k.layers.GlobalAveragePooling1D()(x),
    "added": lambda k, x: k.layers.LSTM(2)(k.layers.Add()([x, k.layers.ReLU()(x)])),
    "beside": lambda k, x: k.layers.LSTM(2)(k.layers.Concatenate()([x, k.layers.ReLU()(x)])),
    "larger": lambda k, x: k.layers.Maximum()([k.layers.LSTM(3, return_sequences=True)(x), k.layers.Conv1D(3, 1)(x)]),
    "product": lambda k, x: k.layers.Multiply()([k.layers.LSTM(3, return_sequences=True)(x), x]),
    "smaller": lambda k, x: k.layers.LSTM(2)(k.layers.Minimum()([x, k.layers.ReLU()(x), k.layers.Masking(0.1)(x)])),
    "added masks": lambda k, x: k.layers.LSTM(2)(k.layers.Add()([x, k.layers.Masking(0.0)(k.layers.ReLU()(x))])),
    "masks beside": lambda k, x: k.layers.LSTM(2)(k.layers.Concatenate()([x, k.layers.Masking(0.0)(k.layers.ReLU()(x))])),
    "states": lambda k, x: k.layers.Concatenate()(k.layers.LSTM(4, return_state=True)(x)),
    "masking": lambda k, x: k.layers.LSTM(2)(k.layers.Masking(0.0)(k.layers.ReLU()(x))),
    "attention": lambda k, x: k.layers.GRU(2)(k.layers.MultiHeadAttention(2, 3)(x, x)),
    "backwards": lambda k, x: k.layers.LSTM(2, go_backwards=True)(x),
    "inside Sequential": _inside("Sequential"),
    "inside Functional": _inside("Functional"),
}


def masked_model(keras: Any) -> Any:
    """Tokens, 0 for padding, to an output for each of the above; each has its own embedding, for Keras's attention takes
    the mask away from the tensor that it reads, wherever else that is read.
    """
    tokens = keras.Input((5,), dtype="int32")
    made = [make(keras, keras.layers.Embedding(9, 3, mask_zero=True)(tokens)) for make in MODELS.values()]
    return keras.Model(tokens, made)
