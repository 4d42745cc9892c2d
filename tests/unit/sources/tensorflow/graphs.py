"""Frozen graphs of the kinds that people convert, built by TensorFlow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Feeds = dict[str, Array]


def frozen(path: Path, function: Callable[..., Any], specs: list[Any]) -> Path:
    """A function of a model as a GraphDef without variables."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    concrete = tf.function(function).get_concrete_function(*specs)
    graph = convert_variables_to_constants_v2(concrete).graph
    path.write_bytes(graph.as_graph_def().SerializeToString())
    return path


def answered(path: Path, outputs: list[str], feeds: Feeds) -> list[Array]:
    """What TensorFlow computes, its own rewriting switched off (a product that it fuses with Gelu is wrong by 2e-3)."""
    import tensorflow as tf

    definition = tf.compat.v1.GraphDef()
    definition.ParseFromString(path.read_bytes())
    config = tf.compat.v1.ConfigProto()
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(definition, name="")
        with tf.compat.v1.Session(graph=graph, config=config) as session:
            held = {f"{name}:0": array for name, array in feeds.items()}
            return list(session.run([f"{name}:0" for name in outputs], held))


def mobilenet(tf: Any, keras: Any) -> Callable[..., Any]:
    """Inverted residuals: depthwise convolutions, batch normalisation, relu6."""
    model = keras.applications.MobileNetV2(input_shape=(96, 96, 3), alpha=0.35, weights=None, classes=10)
    return lambda x: model(x, training=False)


def deeplab(tf: Any, keras: Any) -> Callable[..., Any]:
    """Dilated convolutions (which Keras spells SpaceToBatchND), pooled image features, bilinear resizing, argmax."""
    layers = keras.layers
    stem, norm = layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False), layers.BatchNormalization()
    branches = [layers.SeparableConv2D(8, 3, padding="same", dilation_rate=rate) for rate in (2, 4, 6)]
    branches += [layers.Conv2D(8, 3, padding="same", dilation_rate=rate) for rate in (2, 3)]
    branches += [layers.DepthwiseConv2D(3, padding="same", dilation_rate=2)]
    pooled, last = layers.Conv2D(8, 1), layers.Conv2D(5, 1)

    def run(x: Any) -> Any:
        x = tf.nn.relu6(norm(stem(x / 127.5 - 1.0), training=False))
        wide = tf.image.resize(pooled(tf.reduce_mean(x, (1, 2), keepdims=True)), tf.shape(x)[1:3])
        made = last(tf.concat([*(branch(x) for branch in branches), wide], -1))
        made = tf.image.resize(made, (65, 65))
        return tf.argmax(made, -1), tf.nn.softmax(made)

    return run


def squeezed(tf: Any, keras: Any) -> Callable[..., Any]:
    """Squeeze and excitation: a pooled vector becomes an image of one pixel and scales the channels."""
    layers = keras.layers
    convs = [layers.Conv2D(8, 3, padding="same") for _ in range(2)]
    down, up, last = layers.Conv2D(2, 1), layers.Conv2D(8, 1), layers.Dense(3)

    def run(x: Any) -> Any:
        for conv in convs:
            x = tf.nn.swish(conv(x))
            held = tf.reshape(tf.reduce_mean(x, (1, 2)), (-1, 1, 1, 8))
            x = x * tf.sigmoid(up(tf.nn.relu(down(held))))
        return last(tf.reduce_mean(x, (1, 2)))

    return run


def unet(tf: Any, keras: Any) -> Callable[..., Any]:
    """Transposed convolutions, resizing, joins, mirrored borders."""
    layers = keras.layers
    down = [layers.Conv2D(depth, 3, padding="same", activation="relu") for depth in (8, 16)]
    up, smooth = layers.Conv2DTranspose(8, 2, 2, "same"), layers.UpSampling2D(2, interpolation="bilinear")
    last = layers.Conv2D(2, 1)

    def run(x: Any) -> Any:
        first = down[0](x)
        second = down[1](tf.nn.max_pool2d(first, 2, 2, "SAME"))
        joined = tf.concat([first, up(second), smooth(second)], -1)
        return last(tf.pad(joined, [[0, 0], [1, 1], [1, 1], [0, 0]], "REFLECT"))

    return run


def causal(tf: Any, keras: Any) -> Callable[..., Any]:
    """Convolutions of one dimension, dilated ones too, which are those of two between ExpandDims and Squeeze."""
    layers = keras.layers
    stack = [layers.Conv1D(8, 5, padding="same", activation="relu"), layers.Conv1D(8, 3, dilation_rate=4, padding="causal"),
             layers.BatchNormalization(), layers.MaxPooling1D(2), layers.GlobalAveragePooling1D()]  # fmt: skip

    def run(x: Any) -> Any:
        for layer in stack:
            x = layer(x)
        return x

    return run


def detector(tf: Any, keras: Any) -> Callable[..., Any]:
    """Heads, box decoding, suppression of all classes together."""
    layers = keras.layers
    body = layers.Conv2D(16, 3, 4, "same", activation="relu")
    places, kinds = layers.Conv2D(12, 3, padding="same"), layers.Conv2D(18, 3, padding="same")

    def run(x: Any) -> Any:
        held = body(x)
        deltas = tf.reshape(places(held), (tf.shape(x)[0], -1, 4)) * 0.1 + 0.5
        scores = tf.nn.softmax(tf.reshape(kinds(held), (tf.shape(x)[0], -1, 6)))
        y, x, height, width = tf.unstack(deltas, axis=-1)
        height, width = tf.exp(height * 0.2) * 0.1, tf.exp(width * 0.2) * 0.1
        boxes = tf.stack([y - height / 2, x - width / 2, y + height / 2, x + width / 2], -1)
        return tf.image.combined_non_max_suppression(boxes[:, :, None], scores[..., 1:], 10, 20, 0.5, 0.1)

    return run


def audio(tf: Any, keras: Any) -> Callable[..., Any]:
    """Frames, spectrum, mel bands, cepstral coefficients."""

    def run(x: Any) -> Any:
        spectrum = tf.abs(tf.signal.stft(x, 400, 160, 512))
        bands = tf.signal.linear_to_mel_weight_matrix(40, 257, 16000, 20.0, 4000.0)
        energies = tf.math.log(tf.tensordot(spectrum, bands, 1) + 1e-6)
        return tf.signal.mfccs_from_log_mel_spectrograms(energies)[..., :13]

    return run


def encoder(tf: Any, keras: Any) -> Callable[..., Any]:
    """Two layers of a BERT-like encoder: embeddings, a mask, attention by reshapes of computed shapes, Gelu."""
    layers, width, heads = keras.layers, 32, 4
    words, kinds = layers.Embedding(50, width), layers.Embedding(2, width)
    places = tf.Variable(tf.random.normal((64, width)))
    first = layers.LayerNormalization(epsilon=1e-12)
    names = {"q": width, "k": width, "v": width, "o": width, "in": 64, "out": width}
    blocks = [
        {**{name: layers.Dense(size) for name, size in names.items()},
         **{name: layers.LayerNormalization(epsilon=1e-12) for name in ("n1", "n2")}}
        for _ in range(2)
    ]  # fmt: skip

    def apart(x: Any) -> Any:
        dims = tf.shape(x)
        return tf.transpose(tf.reshape(x, (dims[0], dims[1], heads, width // heads)), (0, 2, 1, 3))

    def run(ids: Any, mask: Any, types: Any) -> Any:
        x = first(words(ids) + places[: tf.shape(ids)[1]] + kinds(types))
        hidden = (1.0 - tf.cast(mask[:, None, None, :], tf.float32)) * -1e4
        for block in blocks:
            q, k, v = (apart(block[name](x)) for name in "qkv")
            weights = tf.nn.softmax(tf.matmul(q, k, transpose_b=True) / 8.0**0.5 + hidden)
            seen = tf.transpose(tf.matmul(weights, v), (0, 2, 1, 3))
            dims = tf.shape(seen)
            x = block["n1"](x + block["o"](tf.reshape(seen, (dims[0], dims[1], width))))
            x = block["n2"](x + block["out"](tf.nn.gelu(block["in"](x))))
        return x, tf.tanh(x[:, 0])

    return run


def attention(tf: Any, keras: Any) -> Callable[..., Any]:
    """Keras's own attention (einsum) and layer normalization, which it spells as batch normalization in training."""
    layers = keras.layers
    attend, norm, dense = layers.MultiHeadAttention(4, 8), layers.LayerNormalization(), layers.Dense(32)
    return lambda x: norm(x + dense(attend(x, x)))


def trained_for_integers(tf: Any, keras: Any) -> Callable[..., Any]:
    """Stand-ins of quantization-aware training around a convolution (per channel), a pooling and a product."""
    rng = np.random.default_rng(3)
    first, bias, last = (
        tf.constant(rng.normal(size=size).astype(np.float32) * 0.3) for size in ((3, 3, 3, 8), (8,), (8, 4))
    )
    fake = tf.quantization.fake_quant_with_min_max_vars

    def run(x: Any) -> Any:
        most = tf.reduce_max(tf.abs(first), (0, 1, 2))
        filters = tf.quantization.fake_quant_with_min_max_vars_per_channel(
            first, -most, most, narrow_range=True
        )
        held = fake(tf.nn.relu6(tf.nn.conv2d(fake(x, -1.0, 1.0), filters, 1, "SAME") + bias), 0.0, 6.0)
        held = fake(tf.reduce_mean(held, (1, 2)), 0.0, 6.0)
        return fake(tf.matmul(held, fake(last, -1.0, 1.0, narrow_range=True)), -4.0, 4.0)

    return run
