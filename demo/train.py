"""Train the demo model: a small residual CNN on scikit-learn's digits, in NumPy, and write it as ONNX.

python demo/train.py     (needs scikit-learn and onnx; about a minute; the same bytes each time on one machine)

Convolution -> BatchNormalization -> Relu, a residual block of two, a strided convolution, global average pooling, a
linear head. Written as PyTorch's exporter would (BatchNormalization left in, dynamic batch), so that the
conversion has something to do.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
HERE = Path(__file__).parent
HELD_OUT, EPOCHS, BATCH, RATE, EPSILON = 450, 40, 32, 2e-3, 1e-5
CALIBRATION = 128
"""Training images that integer ranges are chosen from."""

STRIDES = {"stem": 1, "block1": 1, "block2": 1, "down": 2}
CHANNELS = {"stem": (1, 16), "block1": (16, 16), "block2": (16, 16), "down": (16, 32)}


def patches(x: Array, stride: int) -> Array:
    """3x3 patches with padding 1: (N, C, H, W) -> (N, OH, OW, C * 9)."""
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    view = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))[:, :, ::stride, ::stride]
    return view.transpose(0, 2, 3, 1, 4, 5).reshape(x.shape[0], view.shape[2], view.shape[3], -1)


def scatter(grad: Array, shape: tuple[int, ...], stride: int) -> Array:
    """Adjoint of `patches`."""
    n, c, h, w = shape
    out = np.zeros((n, c, h + 2, w + 2), np.float32)
    split = grad.reshape(n, grad.shape[1], grad.shape[2], c, 3, 3)
    for i in range(3):
        for j in range(3):
            part = split[..., i, j].transpose(0, 3, 1, 2)
            out[:, :, i : i + h : stride, j : j + w : stride] += part
    return out[:, :, 1:-1, 1:-1]


@dataclass
class ConvNorm:
    """Convolution and batch normalisation with their gradients."""

    name: str
    stride: int

    def forward(self, p: dict[str, Array], x: Array, *, train: bool) -> Array:
        n = self.name
        self.shape, self.cols = x.shape, patches(x, self.stride)
        raw = np.einsum("nhwk,ok->nohw", self.cols, p[f"{n}.w"].reshape(len(p[f"{n}.w"]), -1), optimize=True)
        if train:
            mean, var = raw.mean((0, 2, 3)), raw.var((0, 2, 3))
            p[f"{n}.mean"] = 0.9 * p[f"{n}.mean"] + 0.1 * mean
            p[f"{n}.var"] = 0.9 * p[f"{n}.var"] + 0.1 * var
        else:
            mean, var = p[f"{n}.mean"], p[f"{n}.var"]
        self.inv = (1 / np.sqrt(var + EPSILON)).astype(np.float32)
        self.hat = (raw - mean[:, None, None]) * self.inv[:, None, None]
        return p[f"{n}.gamma"][:, None, None] * self.hat + p[f"{n}.beta"][:, None, None]

    def backward(self, p: dict[str, Array], grads: dict[str, Array], g: Array) -> Array:
        n, count = self.name, g.shape[0] * g.shape[2] * g.shape[3]
        grads[f"{n}.gamma"] = (g * self.hat).sum((0, 2, 3))
        grads[f"{n}.beta"] = g.sum((0, 2, 3))
        centred = g - g.mean((0, 2, 3))[:, None, None]
        spread = self.hat * (grads[f"{n}.gamma"] / count)[:, None, None]
        raw = (p[f"{n}.gamma"] * self.inv)[:, None, None] * (centred - spread)
        w = p[f"{n}.w"]
        grads[f"{n}.w"] = np.einsum("nohw,nhwk->ok", raw, self.cols, optimize=True).reshape(w.shape)
        cols = np.einsum("nohw,ok->nhwk", raw, w.reshape(len(w), -1), optimize=True)
        return scatter(cols, self.shape, self.stride)


class Network:
    """The demo network; parameters live in one dict."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.p: dict[str, Array] = {}
        for name, (fan, out) in CHANNELS.items():
            self.p[f"{name}.w"] = (rng.standard_normal((out, fan, 3, 3)) * np.sqrt(2 / (9 * fan))).astype(
                np.float32
            )
            for key, value in (("gamma", 1), ("beta", 0), ("mean", 0), ("var", 1)):
                self.p[f"{name}.{key}"] = np.full(out, value, np.float32)
        self.p["head.w"] = (rng.standard_normal((32, 10)) * 0.1).astype(np.float32)
        self.p["head.b"] = np.zeros(10, np.float32)
        self.layers = {name: ConvNorm(name, stride) for name, stride in STRIDES.items()}

    def forward(self, x: Array, *, train: bool = False) -> Array:
        run = {
            name: lambda v, layer=layer: layer.forward(self.p, v, train=train)
            for name, layer in self.layers.items()
        }
        self.a0 = np.maximum(run["stem"](x), 0)
        self.a1 = np.maximum(run["block1"](self.a0), 0)
        self.a2 = np.maximum(run["block2"](self.a1) + self.a0, 0)
        self.a3 = np.maximum(run["down"](self.a2), 0)
        self.pooled = self.a3.mean((2, 3))
        return self.pooled @ self.p["head.w"] + self.p["head.b"]

    def gradients(self, x: Array, labels: npt.NDArray[np.int64]) -> dict[str, Array]:
        """Of the mean cross-entropy."""
        logits = self.forward(x, train=True)
        odds = np.exp(logits - logits.max(1, keepdims=True))
        g = odds / odds.sum(1, keepdims=True)
        g[np.arange(len(g)), labels] -= 1
        g = (g / len(g)).astype(np.float32)
        grads = {"head.w": self.pooled.T @ g, "head.b": g.sum(0)}
        size = self.a3.shape[2] * self.a3.shape[3]
        g3 = np.broadcast_to((g @ self.p["head.w"].T / size)[:, :, None, None], self.a3.shape) * (self.a3 > 0)
        g2 = self.layers["down"].backward(self.p, grads, g3) * (self.a2 > 0)
        g1 = self.layers["block2"].backward(self.p, grads, g2) * (self.a1 > 0)
        g0 = (self.layers["block1"].backward(self.p, grads, g1) + g2) * (self.a0 > 0)
        self.layers["stem"].backward(self.p, grads, g0)
        return grads


def train(images: Array, labels: npt.NDArray[np.int64]) -> Network:
    """Adam (Kingma & Ba 2015) with a cosine rate; small shifts of the images as augmentation."""
    network, rng = Network(seed=0), np.random.default_rng(1)
    moments: dict[str, list[Array]] = {}
    step, total = 0, EPOCHS * (len(images) // BATCH)
    for _ in range(EPOCHS):
        order = rng.permutation(len(images))
        for start in range(0, len(order) - BATCH + 1, BATCH):
            step += 1
            pick = order[start : start + BATCH]
            shift = tuple(rng.integers(-1, 2, 2))
            grads = network.gradients(np.roll(images[pick], shift, (2, 3)), labels[pick])
            rate = RATE * 0.5 * (1 + np.cos(np.pi * step / total))
            for name, grad in grads.items():
                m = moments.setdefault(name, [np.zeros_like(grad), np.zeros_like(grad)])
                m[0] += 0.1 * (grad - m[0])
                m[1] += 0.001 * (grad * grad - m[1])
                update = (m[0] / (1 - 0.9**step)) / (np.sqrt(m[1] / (1 - 0.999**step)) + 1e-8)
                network.p[name] = (network.p[name] - rate * update).astype(np.float32)
    return network


def export(network: Network, path: Path) -> None:
    """Opset 17, input `image` float32 [N, 1, 8, 8] in 0..1, output `logits` float32 [N, 10]."""
    import onnx
    from onnx import TensorProto, helper

    def conv(name: str, source: str) -> list[onnx.NodeProto]:
        stride = STRIDES[name]
        norm = [f"{name}.{key}" for key in ("gamma", "beta", "mean", "var")]
        return [
            helper.make_node("Conv", [source, f"{name}.w"], [f"{name}.conv"], name=f"{name}/conv", kernel_shape=[3, 3],
                             pads=[1, 1, 1, 1], strides=[stride, stride]),
            helper.make_node("BatchNormalization", [f"{name}.conv", *norm], [f"{name}.norm"], name=f"{name}/norm",
                             epsilon=EPSILON),
        ]  # fmt: skip

    def relu(name: str, source: str) -> onnx.NodeProto:
        return helper.make_node("Relu", [source], [f"{name}.out"], name=f"{name}/relu")

    nodes = [
        *conv("stem", "image"), relu("stem", "stem.norm"),
        *conv("block1", "stem.out"), relu("block1", "block1.norm"),
        *conv("block2", "block1.out"),
        helper.make_node("Add", ["block2.norm", "stem.out"], ["sum"], name="block2/add"), relu("block2", "sum"),
        *conv("down", "block2.out"), relu("down", "down.norm"),
        helper.make_node("GlobalAveragePool", ["down.out"], ["pooled"], name="pool"),
        helper.make_node("Flatten", ["pooled"], ["features"], name="flatten", axis=1),
        helper.make_node("Gemm", ["features", "head.w", "head.b"], ["logits"], name="head"),
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes, "digits",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 1, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 10])],
        [onnx.numpy_helper.from_array(np.ascontiguousarray(v, np.float32), k) for k, v in network.p.items()],
    )  # fmt: skip
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="demo"
    )
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())


def main() -> None:
    """Train, say the held-out accuracy, write the model and the held-out images."""
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = np.random.default_rng(42).permutation(len(digits.target))
    images = (digits.images[order, None] / 16).astype(np.float32)
    labels = digits.target[order].astype(np.int64)
    network = train(images[HELD_OUT:], labels[HELD_OUT:])
    right = network.forward(images[:HELD_OUT]).argmax(1) == labels[:HELD_OUT]
    print(f"held-out accuracy: {100 * right.mean():.2f} % of {HELD_OUT} images")
    export(network, HERE / "digits.onnx")
    np.savez_compressed(HERE / "digits_test.npz", image=images[:HELD_OUT], labels=labels[:HELD_OUT])
    np.savez_compressed(HERE / "digits_calibration.npz", image=images[HELD_OUT : HELD_OUT + CALIBRATION])
    for index in range(5):
        pixels = (255 * images[index, 0]).round().astype(np.uint8)
        Image.fromarray(pixels).save(HERE / f"digit_{labels[index]}_{index}.png")


if __name__ == "__main__":
    main()
