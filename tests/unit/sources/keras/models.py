"""Random whole Keras models: layers in any order, shared ones, models inside models, several inputs and outputs.

Nothing here imports Keras: the module (`keras` or `tf_keras`) is given.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Rng = np.random.Generator


def flat(made: Any) -> list[Any]:
    """All tensors of a result, a dict's by sorted keys."""
    if isinstance(made, dict):
        made = [made[key] for key in sorted(made)]
    return [item for part in made for item in flat(part)] if isinstance(made, list | tuple) else [made]


class Builder:
    """Grows one functional model. tensors: what may be used next; shared: layers that may be called again."""

    def __init__(self, keras: Any, rng: Rng, depth: int = 0) -> None:
        self.keras, self.layers, self.rng, self.depth = keras, keras.layers, rng, depth
        self.tensors: list[Any] = []
        self.shared: list[tuple[tuple[Any, ...], Any]] = []

    def pick(self, *items: Any) -> Any:
        """One of them."""
        return items[int(self.rng.integers(len(items)))]

    def grow(self, steps: int) -> None:
        """So many layers more."""
        for _ in range(steps):
            self.tensors.append(self.step(self.pick(*self.tensors)))

    def step(self, x: Any) -> Any:
        """One call of a layer, old or new."""
        again = [layer for shape, layer in self.shared if shape == tuple(x.shape)]
        if again and self.rng.random() < 0.25:
            return self.pick(*flat(self.pick(*again)(x)))
        if self.rng.random() < 0.2:
            return self.merged(x)
        if self.rng.random() < 0.12:
            return self.computed(x)
        layer = self.inner(x) if self.depth < 2 and self.rng.random() < 0.2 else self.plain(x)
        self.shared.append((tuple(x.shape), layer))
        made = layer(x)
        return self.pick(*flat(made))

    def computed(self, x: Any) -> Any:
        """Arithmetic and slices written down as such: functions between the layers."""
        forms = [lambda: x * 2.0 + 1.0, lambda: 1.0 - x, lambda: x[:, :2], lambda: x[:, -1:], lambda: -x / 3.0]
        if self.keras.__name__ == "keras":  # the other cannot save it in its newer container
            forms.append(lambda: x[..., -1:])
        return self.pick(*forms)()

    def plain(self, x: Any) -> Any:
        """A layer for a tensor of this rank."""
        menu = {2: self.on_vectors, 3: self.on_sequences, 4: self.on_images}[len(x.shape)]
        return self.pick(*menu(x))()

    def common(self) -> list[Any]:
        """Layers for any rank."""
        layers, size = self.layers, int(self.rng.integers(1, 6))
        return [
            lambda: layers.Dense(size, activation=self.pick(None, "relu", "tanh")), lambda: layers.BatchNormalization(),
            lambda: layers.Activation(self.pick("relu", "sigmoid", "tanh", "softmax")), lambda: layers.Dropout(0.4),
            lambda: layers.LayerNormalization(), lambda: layers.ReLU(), lambda: layers.LeakyReLU(),
        ]  # fmt: skip

    def on_vectors(self, x: Any) -> list[Any]:
        """(batch, features)."""
        layers = self.layers
        return [
            *self.common(), lambda: layers.RepeatVector(3), lambda: layers.Reshape((1, int(x.shape[-1]))),
            lambda: layers.Rescaling(0.5, offset=0.25),
        ]  # fmt: skip

    def on_sequences(self, x: Any) -> list[Any]:
        """(batch, steps, features)."""
        layers, more = self.layers, bool(self.rng.integers(2))
        return [
            *self.common(), lambda: layers.Conv1D(4, 2, padding="same"), lambda: layers.LSTM(3, return_sequences=more),
            lambda: layers.GRU(2, return_sequences=more, return_state=True), lambda: layers.GlobalAveragePooling1D(),
            lambda: layers.Bidirectional(layers.LSTM(2, return_sequences=more)), lambda: layers.Flatten(),
            lambda: layers.TimeDistributed(layers.Dense(3)), lambda: layers.Permute((2, 1)),
            lambda: layers.SimpleRNN(3, return_sequences=more),
        ]  # fmt: skip

    def on_images(self, x: Any) -> list[Any]:
        """(batch, rows, columns, channels)."""
        layers, stride = self.layers, self.pick(1, 2)
        return [
            *self.common(), lambda: layers.Conv2D(4, 3, strides=stride, padding="same", activation=self.pick(None, "relu")),
            lambda: layers.DepthwiseConv2D(3, padding="same"), lambda: layers.MaxPooling2D(2, padding="same"),
            lambda: layers.SeparableConv2D(3, 3, padding="same", use_bias=False), lambda: layers.UpSampling2D(2),
            lambda: layers.GlobalMaxPooling2D(), lambda: layers.Flatten(), lambda: layers.ZeroPadding2D(1),
            lambda: layers.Conv2DTranspose(2, 3, strides=stride, padding="same"),
            lambda: layers.AveragePooling2D(2, padding="same"), lambda: layers.GlobalAveragePooling2D(),
        ]  # fmt: skip

    def inner(self, x: Any) -> Any:
        """A model as a layer: Sequential, with or without its input said, or functional."""
        shape = tuple(x.shape[1:])
        builder = Builder(self.keras, self.rng, self.depth + 1)
        if self.rng.random() < 0.5:
            return self.sequential(builder, shape)
        builder.tensors = [self.keras.Input(shape)]
        builder.grow(int(self.rng.integers(1, 4)))
        outputs = builder.tensors[-1] if self.rng.random() < 0.7 else builder.tensors[1:][-2:]
        return self.keras.Model(builder.tensors[0], outputs)

    def sequential(self, builder: Builder, shape: tuple[int, ...]) -> Any:
        """A chain of plain layers."""
        model = self.keras.Sequential()
        if self.rng.random() < 0.6:
            model.add(self.keras.Input(shape))
        x = self.keras.Input(shape)
        for _ in range(int(self.rng.integers(1, 4))):
            layer = builder.plain(x)
            made = layer(x)
            if isinstance(made, list | tuple):
                continue
            model.add(layer)
            x = made
        if not model.layers:
            model.add(self.layers.ReLU())
        return model

    def merged(self, x: Any) -> Any:
        """With another tensor: elementwise where the shapes are the same, else side by side as vectors."""
        same = [item for item in self.tensors if tuple(item.shape) == tuple(x.shape)]
        other = self.pick(*same)
        kind = self.pick("Add", "Multiply", "Subtract", "Maximum", "Average", "Concatenate")
        if self.rng.random() < 0.7:
            return getattr(self.layers, kind)()([x, other])
        flat = [self.layers.Flatten()(item) if len(item.shape) > 2 else item for item in (x, self.pick(*self.tensors))]
        return self.layers.Concatenate()(flat)


SHAPES = ((6,), (5, 4), (8, 8, 3), (7, 6, 2))


def random_model(keras: Any, seed: int) -> Any:
    """A functional model, or sometimes a Sequential one, with weights that are all random."""
    rng = np.random.default_rng(seed)
    builder = Builder(keras, rng)
    if rng.random() < 0.15:
        shape = builder.pick(*SHAPES)
        model = builder.sequential(Builder(keras, rng, 2), shape)
        model.build((None, *shape))
    else:
        model = functional(builder)
    for variable in model.weights:
        low = 0.2 if "variance" in variable.name else -0.6
        variable.assign(rng.uniform(low, 0.8, variable.shape))
    return model


def functional(builder: Builder) -> Any:
    """One to three inputs, one to three outputs, named by a dict sometimes."""
    rng, keras = builder.rng, builder.keras
    inputs = [keras.Input(builder.pick(*SHAPES)) for _ in range(int(rng.integers(1, 4)))]
    if rng.random() < 0.3:
        words = keras.Input((5,), dtype="int32")
        inputs.append(words)
        embedded = builder.layers.Embedding(9, 3, mask_zero=bool(rng.integers(2)))(words)
        if rng.random() < 0.5:
            builder.tensors.append(builder.layers.Dropout(0.1)(embedded))
            builder.tensors.append(builder.layers.LSTM(4, return_sequences=bool(rng.integers(2)))(embedded))
        else:
            builder.tensors.append(builder.layers.Bidirectional(builder.layers.GRU(3))(embedded))
    builder.tensors += [item for item in inputs if "int" not in str(item.dtype)]
    builder.grow(int(rng.integers(3, 10)))
    outputs = builder.tensors[-int(rng.integers(1, 4)) :]
    made = {id(item) for item in inputs}
    outputs = [item for item in outputs if id(item) not in made] or [builder.tensors[-1]]
    if len(outputs) > 1 and rng.random() < 0.4:
        return keras.Model(inputs, {f"key_{7 - place}": item for place, item in enumerate(outputs)})
    return keras.Model(inputs, outputs)


def feeds(model: Any, seed: int, batch: int = 2) -> list[np.ndarray]:
    """Random inputs, in order; tokens end in the padding."""
    rng = np.random.default_rng(seed)
    found = []
    for item in model.inputs:
        shape = [batch, *(int(dim) for dim in item.shape[1:])]
        if "int" in str(item.dtype):
            tokens = rng.integers(1, 9, shape)
            tokens[0, 3:] = 0
            found.append(tokens.astype(np.int32))
        else:
            found.append(rng.uniform(-1, 1, shape).astype(np.float32))
    return found
