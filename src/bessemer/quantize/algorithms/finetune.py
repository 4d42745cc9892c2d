"""Joint fine-tuning: all weights and biases of the quantized net trained at once, the float net being the teacher.

Finkelstein et al., "QFT: Post-training quantization via fast joint finetuning of all degrees of freedom", arXiv
2212.02634: one end-to-end optimisation by distillation, straight-through gradients, no labels. Scales are frozen
unless asked for; then they follow LSQ's rule (Esser et al., arXiv 1902.08153).

A batch is cut into fixed parts whose gradients are added in a fixed order, each computed by one thread: the result is
the same bit for bit whatever number of threads works.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from bessemer.ir.errors import UsageError
from bessemer.ir.types import Array
from bessemer.quantize.algorithms.distances import LOSSES
from bessemer.quantize.algorithms.leaves import leaves, steps, write
from bessemer.quantize.observe import Sample
from bessemer.quantize.plan import Plan
from bessemer.runners.graph import GraphRunner

if TYPE_CHECKING:
    import onnx_ir

    from bessemer.ir.model import Model

CACHE = 1 << 28
"""Bytes of the teacher's answers that are kept; beyond, they are computed again in every epoch."""

PART = 2
"""Samples that one thread computes together, where the graph takes batches."""

SOFT = frozenset({"Softmax", "LogSoftmax", "Sigmoid"})
"""Behind them a loss fades where the net is sure: what they read is compared."""


@dataclass(frozen=True)
class FineTune:
    """Options, with the defaults of the published recipe.

    rate: learning rate at the start of the first decay period for a batch of 8, in proportion for others (of weights
    in units of their steps: times STEPS); epochs: in
    all, the first of them a warm-up at a quarter of the rate; each of the others is a cosine from the rate down to 0,
    restarted at half of the one before. samples: at most so many are used, `validation` of them held out to choose
    the best epoch by. loss: see `distances`. bias_only: weights keep their integers; train_scales: scales of weights
    and of activations are trained too.
    """

    epochs: int = 4
    batch: int = 8
    rate: float = 0.0002
    samples: int = 1024
    validation: int = 64
    loss: str = "l2rel"
    bias_only: bool = False
    train_scales: bool = False
    seed: int = 0
    threads: int = 0

    @property
    def repeats(self) -> int:
        """How many further starting points it is worth to be tried from."""
        return 0

    @property
    def title(self) -> str:
        """As the report says it."""
        what = "fine-tuning of biases" if self.bias_only else "fine-tuning"
        return f"{what} and scales" if self.train_scales else what

    def __post_init__(self) -> None:
        if self.loss not in LOSSES:
            raise UsageError(f"There is no loss '{self.loss}'", fix=f"Choose one of {', '.join(LOSSES)}")


@dataclass
class Tuned:
    """What came of it: the loss on held-out samples before training and after each epoch, and the epoch kept (0: none)."""

    losses: list[float] = field(default_factory=list)
    epoch: int = 0


def finetune(
    model: Model, teacher: onnx_ir.Model, plan: Plan, samples: Sequence[Sample], how: FineTune | None = None
) -> Tuned:
    """Train the quantized `model` in place; `teacher`: the float net, its values named alike.

    Weights become integers of the same encodings again (of new scales with `train_scales`). Raises MissingExtra, and
    RuntimeRefused for operators that the torch executor lacks.
    """
    from bessemer.runners.torch.runner import load_torch

    how = how or FineTune()
    if how.train_scales and plan.scheme.power_of_two:
        raise UsageError("Scales that are powers of two cannot be trained", fix="Leave train_scales out")
    torch = load_torch("Fine-tuning")
    with _one_thread(torch):
        trainer = _Trainer(model, teacher, plan, samples, how)
        result = trainer.train()
    if result.epoch:
        write(model, trainer.trained, trainer.scales)
    return result


@contextmanager
def _one_thread(torch: Any) -> Iterator[None]:
    """Inside an operator: parts of a batch go to threads instead, which adds up the same on every machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Trainer:
    """The student, the teacher's answers, and the loop."""

    def __init__(
        self, model: Model, teacher: onnx_ir.Model, plan: Plan, samples: Sequence[Sample], how: FineTune
    ) -> None:
        import torch

        from bessemer.passes.decompose import inline_until
        from bessemer.runners.torch.runner import lacks

        self.how, self.torch, self.local = how, torch, threading.local()
        self.graph = model.graph.clone()
        inline_until(self.graph, lacks)
        self.names = loss_values(model.graph.graph)
        self.trained = leaves(plan, bias_only=how.bias_only, train_scales=how.train_scales)
        self.scales = steps(plan) if how.train_scales else []
        rated = [part for leaf in self.trained for part in leaf.parameters]
        rated += [part for step in self.scales for part in step.parameters]
        self.parameters, self.factors = [leaf for leaf, _ in rated], [factor for _, factor in rated]
        self.samples, self.held_out = _shares(samples, how)
        self.teacher = _Teacher(teacher, self.names)
        self.size = PART if self._takes_batches() else 1

    def train(self) -> Tuned:
        """All epochs; the parameters end as the best of them left them."""
        torch, how = self.torch, self.how
        adam = torch.optim.Adam([{"params": [leaf]} for leaf in self.parameters], lr=0.0)
        order = torch.Generator().manual_seed(how.seed)
        result = Tuned()
        workers = how.threads or os.cpu_count() or 1
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            result.losses.append(self._validation(pool))
            best = [item.detach().clone() for item in self.parameters]
            for epoch in range(how.epochs):
                places = torch.randperm(len(self.samples), generator=order).tolist()
                batches = [places[at : at + how.batch] for at in range(0, len(places), how.batch)]
                for step, batch in enumerate(batches):
                    rate = learning_rate(how, epoch, step / len(batches))
                    for group, factor in zip(adam.param_groups, self.factors, strict=True):
                        group["lr"] = rate * factor
                    self._backward([self.samples[place] for place in batch], pool)
                    adam.step()
                result.losses.append(self._validation(pool))
                if result.losses[-1] < min(result.losses[:-1]):
                    result.epoch, best = epoch + 1, [item.detach().clone() for item in self.parameters]
        with torch.no_grad():
            for item, kept in zip(self.parameters, best, strict=True):
                item.copy_(kept)
        return result

    def _backward(self, batch: Sequence[Sample], pool: ThreadPoolExecutor) -> None:
        """Gradients of a batch's loss, added in the order of its parts."""
        norms = self._norms(batch)

        def part(samples: Sequence[Sample]) -> Any:
            loss = self._loss(samples, norms)
            return self.torch.autograd.grad(loss, self.parameters, allow_unused=True)

        found = list(pool.map(part, self._parts(batch)))
        for place, parameter in enumerate(self.parameters):
            given = [item[place] for item in found if item[place] is not None]
            parameter.grad = sum(given[1:], given[0]) if given else None

    def _validation(self, pool: ThreadPoolExecutor) -> float:
        norms = self._norms(self.held_out)

        def part(samples: Sequence[Sample]) -> float:
            with self.torch.no_grad():
                return float(self._loss(samples, norms))

        return sum(pool.map(part, self._parts(self.held_out)))

    def _parts(self, batch: Sequence[Sample]) -> list[Sequence[Sample]]:
        return [batch[at : at + self.size] for at in range(0, len(batch), self.size)]

    def _norms(self, batch: Sequence[Sample]) -> dict[str, float]:
        """What sums over the samples of a batch are divided by: the energy of the teacher's answers, or their number."""
        if self.how.loss != "l2rel":
            return dict.fromkeys(self.names, float(len(batch)))
        answers = [self.teacher(sample) for sample in batch]
        return {name: sum(float(np.square(item[name]).sum()) for item in answers) + 1e-8 for name in self.names}

    def _loss(self, samples: Sequence[Sample], norms: dict[str, float]) -> Any:
        """Sum over the loss values."""
        found, distance = self._student(samples), LOSSES[self.how.loss]
        answers = [self.teacher(sample) for sample in samples]
        total: Any = 0.0
        for name in self.names:
            wanted = self.torch.from_numpy(np.concatenate([item[name] for item in answers]))
            total = total + distance(found[name], wanted) / norms[name]
        return total

    def _student(self, samples: Sequence[Sample]) -> dict[str, Any]:
        """The student's values by name; constants under training as they are now."""
        from bessemer.quantize.fake import FakeQuantized

        student = getattr(self.local, "student", None)  # one for each thread
        if student is None:
            student = self.local.student = FakeQuantized(self.graph, frozenset(self.names))
        constants = self.graph.graph.initializers
        for item in self.trained:
            student.executor.constants[constants[item.place]] = item.seen()
        student.scales = {value.name or "": step.scale for step in self.scales for value in step.group.values}
        names = [value.name or "" for value in self.graph.graph.inputs]
        student({name: self.torch.from_numpy(_joined([sample[name] for sample in samples])) for name in names})
        seen, student.seen = student.seen, {}
        return seen

    def _takes_batches(self) -> bool:
        """Whether samples joined along the first axis give what they give one by one."""
        from bessemer.ir.errors import RuntimeRefused

        pair = self.samples[:2]
        if len(pair) < 2:
            return False
        with self.torch.no_grad():
            single = [self._student([sample]) for sample in pair]
            try:
                joined = self._student(pair)
            except RuntimeRefused:
                return False
        return all(_same(self.torch.cat([item[name] for item in single]), joined[name]) for name in self.names)


def _same(wanted: Any, got: Any) -> bool:
    """Up to a few values that fell on the other side of a rounding."""
    if wanted.shape != got.shape:
        return False
    noise = float((wanted - got).square().sum())
    return noise <= 1e-4 * float(wanted.square().sum())


def _joined(arrays: Sequence[Array]) -> Array:
    return np.ascontiguousarray(arrays[0]).copy() if len(arrays) == 1 else np.concatenate(arrays)


class _Teacher:
    """The float net's loss values, remembered while they are few."""

    def __init__(self, graph: onnx_ir.Model, names: Sequence[str]) -> None:
        self._runner = GraphRunner(graph, names, threads=1)
        self._kept: dict[int, dict[str, Array]] = {}
        self._bytes = 0

    def __call__(self, sample: Sample) -> dict[str, Array]:
        if id(sample) in self._kept:
            return self._kept[id(sample)]
        found = self._runner.run(sample)
        self._bytes += sum(array.nbytes for array in found.values())
        if self._bytes < CACHE:
            self._kept[id(sample)] = found
        return found


def learning_rate(how: FineTune, epoch: int, share: float) -> float:
    """The rate `share` of the way through an epoch (0 is the warm-up)."""
    start = how.rate / 8 * how.batch
    if epoch == 0:
        return start / 4
    return start * 0.5 ** (epoch - 1) * 0.5 * (1 + math.cos(math.pi * share))


def loss_values(graph: onnx_ir.Graph) -> list[str]:
    """Names of the float values that student and teacher are compared at: the outputs, or what a last softmax reads."""
    import onnx_ir

    found: list[str] = []
    for value in graph.outputs:
        node = value.producer()
        if node is None or value.dtype != onnx_ir.DataType.FLOAT:
            continue
        read = node.inputs[0] if node.op_type in SOFT else value
        before = value if read is None or read.producer() is None else read
        found.append(before.name or "")
    return list(dict.fromkeys(found))


def _shares(samples: Sequence[Sample], how: FineTune) -> tuple[list[Sample], list[Sample]]:
    """Samples to train on and held-out ones, both spread over the data."""
    count = min(len(samples), how.samples)
    chosen = [samples[place * len(samples) // count] for place in range(count)]
    out = max(min(how.validation, count // 8), 1)
    places = {place * count // out for place in range(out)}
    trained = [sample for place, sample in enumerate(chosen) if place not in places]
    return trained or chosen, [chosen[place] for place in sorted(places)]


