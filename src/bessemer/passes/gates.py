"""The activations of RNN, GRU and LSTM, as the ONNX specification lists them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx_ir

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
"""Gates of each operator: its matrices have so many times `hidden` rows."""

DEFAULTS = {"RNN": ("Tanh",), "GRU": ("Sigmoid", "Tanh"), "LSTM": ("Sigmoid", "Tanh", "Tanh")}

PARAMETERS: dict[str, tuple[float | None, float | None]] = {
    "hardsigmoid": (0.2, 0.5),
    "leakyrelu": (0.01, None),
    "thresholdedrelu": (1.0, None),
    "elu": (1.0, None),
    "affine": (1.0, 0.0),
    "scaledtanh": (1.0, 1.0),
}
"""Defaults of alpha and beta, None where the activation has none; activations that are not here have neither.

Affine and ScaledTanh have no defaults in the specification: ONNX Runtime's, which runs the original, are taken."""


@dataclass(frozen=True)
class Gate:
    """One activation: its name in lower case and its parameters."""

    name: str
    alpha: float = 0.0
    beta: float = 0.0


def activations(node: onnx_ir.Node) -> list[list[Gate]]:
    """Of each direction; alphas and betas go to the activations that have some, in order."""
    defaults = DEFAULTS[node.op_type]
    both = node.attributes.get_string("direction", "forward").lower() == "bidirectional"
    names = [str(name).lower() for name in node.attributes.get_strings("activations", [])]
    names = names or [name.lower() for name in defaults] * (2 if both else 1)
    alphas = list(node.attributes.get_floats("activation_alpha", []))
    betas = list(node.attributes.get_floats("activation_beta", []))
    found = []
    for name in names:
        alpha, beta = PARAMETERS.get(name, (None, None))
        alpha = alphas.pop(0) if alpha is not None and alphas else alpha
        beta = betas.pop(0) if beta is not None and betas else beta
        found.append(Gate(name, float(alpha or 0.0), float(beta or 0.0)))
    return [found[start : start + len(defaults)] for start in range(0, len(found), len(defaults))]
