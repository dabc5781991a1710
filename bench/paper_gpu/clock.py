"""Time and throughput: a budget that is shared out, tokens per second, and MFU.

MFU (model FLOPs utilisation) is the FLOPs that the model needs, over what the device could do at its peak. Padding
and EOS count as tokens, since they are computed.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field

from bench.flops import training_flops_per_token

from arith_shared import problems
from arith_shared.errors import DrainError, SpecError
from arith_shared.specs import OptSpec, Spec


class Budget:
    """Seconds for everything, shared out between what is still to be done."""

    def __init__(self, seconds: float) -> None:
        """The clock starts now."""
        self._end = time.monotonic() + seconds

    def share(self, parts: int) -> float:
        """An equal part of what is left, in seconds."""
        return max(0.0, self._end - time.monotonic()) / parts


@dataclass(slots=True)
class TrainingClock:
    """A handler's `progress` that prints throughput, remembers when each step was done, and ends at the budget."""

    name: str
    spec: Spec
    peak: float | None
    budget_s: float
    #: Seconds of training before this process, and at each evaluated step.
    before_s: float = 0.0
    seconds: dict[int, float] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)
    first_step: int | None = None
    first_at: float = 0.0
    printed_at: float = 0.0

    def __call__(self, done: float, total: float, unit: str, note: str = "") -> None:
        """Called after every step; raises DrainError when the budget is used up, which saves a checkpoint."""
        now, step = time.monotonic(), int(done)
        if unit != "steps" or step == 0:
            return
        if self.first_step is None:
            self.first_step, self.first_at = step, now
        if step % decoder(self.spec).training.evaluate_every == 0:
            self.seconds[step] = self.elapsed_s
        if now - self.printed_at > 10:
            self.printed_at = now
            sys.stdout.write(f"{self.name}  train {step:,}/{total:,.0f} steps  {self.rate(step)}  {note}\n")
            sys.stdout.flush()
        if now - self.started > self.budget_s:
            raise DrainError("the time budget is used up")

    @property
    def elapsed_s(self) -> float:
        """Seconds of training, earlier processes included."""
        return self.before_s + time.monotonic() - self.started

    def rate(self, step: int) -> str:
        """``1.2M tokens/s, MFU 31.0 %``; without the first step, which compiles and allocates."""
        tokens = self.tokens_per_s(step)
        if tokens is None:
            return "-"
        mfu = f", MFU {100 * tokens * flops_per_token(self.spec) / self.peak:.1f} %" if self.peak else ""
        return f"{tokens:,.0f} tokens/s{mfu}"

    def tokens_per_s(self, step: int) -> float | None:
        """Tokens per second since this process's first step; None where there was only one."""
        if self.first_step is None or step <= self.first_step:
            return None
        return (step - self.first_step) * tokens_per_step(self.spec) / (time.monotonic() - self.first_at)

    def mfu(self, step: int) -> float | None:
        """Model FLOPs utilisation since this process's first step; None where the peak is not known."""
        tokens = self.tokens_per_s(step)
        return tokens * flops_per_token(self.spec) / self.peak if tokens and self.peak else None


def decoder(spec: Spec) -> OptSpec:
    """The LM of section 3; raises SpecError for another kind."""
    if spec.lm.kind != "opt":
        raise SpecError(f"lm.kind: expected opt, as in section 3 of the paper, found {spec.lm.kind}")
    return spec.lm


def longest_text(spec: Spec) -> int:
    """Tokens of the longest training text, EOS included: what every text is padded to."""
    return problems.longest_text(spec.task.training_distribution(), spec.task.chain)


def tokens_per_step(spec: Spec) -> int:
    """Tokens of a full batch, padding included."""
    return decoder(spec).training.batch_tokens // longest_text(spec) * longest_text(spec)


def flops_per_token(spec: Spec) -> float:
    """FLOPs that a token costs in training, forward and backward."""
    lm = decoder(spec)
    vocabulary = spec.task.training_distribution().vocabulary.size
    return training_flops_per_token(lm.layers, lm.width, lm.ffn, vocabulary, longest_text(spec))
