"""Activations inside recurrent steps, with the alphas and betas that a node lists for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bessemer.targets.tflite.context import Blocked

if TYPE_CHECKING:
    import onnx_ir as ir

    Op = Callable[..., int]
    Number = Callable[[float], int]

PLAIN = {"sigmoid": "LOGISTIC", "tanh": "TANH", "relu": "RELU"}
PARAMETERS: dict[str, tuple[float | None, float | None]] = {
    "hardsigmoid": (0.2, 0.5), "affine": (1.0, 0.0), "softsign": (None, None), "elu": (1.0, None),
    "leakyrelu": (0.01, None), "thresholdedrelu": (1.0, None), "scaledtanh": (1.0, 1.0),
}  # fmt: skip
"""Alpha and beta where nothing is listed; None for what has none."""
FORMS = frozenset({*PLAIN, "hardsigmoid", "affine", "softsign", "elu", "leakyrelu"})


@dataclass(frozen=True)
class Gate:
    """An activation of a recurrent node."""

    name: str
    alpha: float
    beta: float

    def draw(self, op: Op, number: Number, x: int) -> int:
        """The activation of a (batch, hidden) tensor. op(code, *inputs): an operator; number(value): a constant."""
        if self.name in PLAIN:
            return op(PLAIN[self.name], x)
        if self.name == "elu":
            return op("ELU", x)
        if self.name == "softsign":
            return op("DIV", x, op("ADD", op("ABS", x), number(1.0)))
        if self.name == "leakyrelu":
            return op("MAXIMUM", x, op("MUL", x, number(self.alpha)))
        line = x if self.alpha == 1.0 else op("MUL", x, number(self.alpha))
        line = line if self.beta == 0.0 else op("ADD", line, number(self.beta))
        if self.name == "affine":
            return line
        return op("MAXIMUM", op("MINIMUM", line, number(1.0)), number(0.0))


def gates(node: ir.Node, names: list[str], count: int, direction: int) -> list[Gate]:
    """The activations of one direction, `count` per direction. Raises Blocked for one without a form in LiteRT."""
    attributes: Any = node.attributes
    alphas, betas = (list(attributes.get_floats(f"activation_{which}", [])) for which in ("alpha", "beta"))
    found = []
    for name in (item.lower() for item in names):
        alpha, beta = PARAMETERS.get(name, (None, None))
        alpha = alphas.pop(0) if alpha is not None and alphas else alpha
        beta = betas.pop(0) if beta is not None and betas else beta
        found.append(Gate(name, 0.0 if alpha is None else float(alpha), 0.0 if beta is None else float(beta)))
    chosen = found[count * direction : count * (direction + 1)]
    for gate in chosen:
        bent = (gate.name == "elu" and gate.alpha != 1.0) or (gate.name == "leakyrelu" and not 0 <= gate.alpha <= 1)
        if gate.name not in FORMS or bent:
            raise Blocked("activation", f"{node.op_type} with the activation {gate.name} has no LiteRT form")
    return chosen
