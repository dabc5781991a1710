"""The training loop, on one screen: fetch, forward and backward, finite?, clip, step, log.

A step depends on the weights, the optimiser, its own number, and with lessons the log, alone: batches and
dropout masks are drawn from (seed, step). So a run that is interrupted and resumed ends with the very bytes, weights
and log, of one that was not (on a CPU; GPU kernels may differ in the last bit).
"""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from arith_model import checkpoint
from arith_model.checkpoint import Checkpoint
from arith_model.devices import compiled, compute_dtype
from arith_model.seeds import derive_seed
from arith_shared.errors import DivergedError, DrainError
from arith_shared.vitals import VITALS
from arith_shared.work import Progress
from arith_trainer.answer_only import answer_logits, answer_tokens, fits
from arith_trainer.batches import Batch
from arith_trainer.course import Course
from arith_trainer.joined import NO_LOSS
from arith_trainer.schedule import learning_rate

if TYPE_CHECKING:
    from arith_shared.specs import TrainingSpec

#: Steps between two lines of the training log.
LOG_EVERY = 20

LogLine = dict[str, Any]

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Training:
    """A model in training, and what the loop needs to go on from any step."""

    model: nn.Module
    #: What is read when.
    course: Course
    options: TrainingSpec
    device: torch.device
    seed: int
    #: Where checkpoints lie.
    scratch: Path
    progress: Progress
    #: One line every `LOG_EVERY` steps and at every evaluation: no times in it, so equal runs have equal logs.
    log: list[LogLine] = field(default_factory=list)
    step: int = 0
    _read: nn.Module = field(init=False)

    def __post_init__(self) -> None:
        """Compile the model's forward and backward where that is wanted."""
        self._read = compiled(self.model)

    def run(self) -> None:
        """Train to the end, or until the validation accuracy suffices.

        Raises DivergedError before a step whose loss or gradient is not finite would spoil the weights, and
        whatever `progress` raises; on DrainError a checkpoint is saved first.
        """
        optimizer = make_optimizer(self.model, self.options)
        self._resume(optimizer)
        self.model.train()
        saved_at = time.monotonic()
        while self.step < self.course.steps:
            line = self._one_step(optimizer)
            self.step += 1
            if self.step % self.options.evaluate_every == 0 or self.step == self.course.steps:
                line |= {"lesson": self.course.lesson.name} if len(self.course.lessons) > 1 else {}
                line["accuracy"] = self.course.lesson.validate()
            if self.step % LOG_EVERY == 0 or "accuracy" in line:
                self.log.append(line)
            if "accuracy" in line and self.course.heard(self.step, line["accuracy"]):
                break
            if time.monotonic() - saved_at > self.options.checkpoint_every_s:
                self._save(optimizer)
                saved_at = time.monotonic()
            self._report(optimizer, line)

    def _one_step(self, optimizer: torch.optim.Optimizer) -> LogLine:
        batch = self.course[self.step].to(self.device)
        rate = learning_rate(
            self.step,
            steps=self.course.steps,
            warmup=self.options.warmup_steps,
            peak=self.options.lr,
            final_fraction=self.options.final_lr_fraction,
            fall_from=self.course.last_from,
        )
        for group in optimizer.param_groups:
            group["lr"] = rate
        # Dropout masks of a step do not depend on how many steps this process has done before.
        torch.manual_seed(derive_seed(self.seed, "dropout", self.step))
        with compute_dtype(self.device, self.options.precision):
            loss = batch_loss(self._read, batch)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.options.clip)
        # One transfer, so that a GPU is waited for once after a step.
        found = torch.stack([loss.detach(), norm]).tolist()
        if not all(map(math.isfinite, found)):
            raise DivergedError(
                f"step {self.step + 1}: expected finite loss and gradient, found loss {found[0]} and norm "
                f"{found[1]}; lower lm.training.lr or raise lm.training.warmup_steps"
            )
        optimizer.step()
        optimizer.zero_grad()
        VITALS.tokens += batch.ids.numel()
        return {"step": self.step + 1, "loss": found[0], "grad_norm": found[1], "lr": rate}

    def _report(self, optimizer: torch.optim.Optimizer, line: LogLine) -> None:
        accuracy = next((past["accuracy"] for past in reversed(self.log) if "accuracy" in past), None)
        note = f"loss {line['loss']:.3f}" + (f", accuracy {accuracy:.3f}" if accuracy is not None else "")
        try:
            self.progress(self.step, self.course.steps, "steps", note)
        except DrainError:
            self._save(optimizer)
            raise

    def _save(self, optimizer: torch.optim.Optimizer) -> None:
        tensors = checkpoint.gather(self.model, optimizer)
        checkpoint.write(self.scratch, Checkpoint(self.step, tensors, {"log": self.log}))

    def _resume(self, optimizer: torch.optim.Optimizer) -> None:
        found = checkpoint.newest(self.scratch)
        if found is not None:
            checkpoint.scatter(found.tensors, self.model, optimizer)
            self.step, self.log = found.step, list(found.facts["log"])
            for line in self.log:
                if "accuracy" in line:
                    self.course.heard(line["step"], line["accuracy"])
            logger.info("going on from the checkpoint after step %d", found.step)


def make_optimizer(model: nn.Module, options: TrainingSpec) -> torch.optim.Optimizer:
    """Adam (table 2) or AdamW over the weights that are trained; frozen embeddings are left out."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    kind = torch.optim.AdamW if options.optimizer == "adamw" else torch.optim.Adam
    return kind(
        trained,
        lr=options.lr,
        betas=options.betas,
        eps=options.eps,
        weight_decay=options.weight_decay,
        fused=True,
    )


def batch_loss(model: nn.Module, batch: Batch) -> torch.Tensor:
    """Mean cross-entropy over the tokens that carry loss, in float32."""
    mask = None
    if batch.sees is not None:
        # The plain product of queries and keys gets its mask by addition.
        unseen = torch.finfo(torch.float32).min
        mask = torch.zeros(batch.sees.shape, device=batch.ids.device).masked_fill(~batch.sees, unseen)
    columns = answer_tokens(batch.labels != NO_LOSS) if fits(model) else None
    if columns is not None:
        logits = answer_logits(model, batch.ids, columns, batch.positions, mask)
        labels = batch.labels[:, columns]
    else:
        where = {"position_ids": batch.positions, "attention_mask": mask}
        logits, labels = model(input_ids=batch.ids, use_cache=False, **where).logits, batch.labels
    return cross_entropy(logits.flatten(0, 1).float(), labels.flatten(), ignore_index=NO_LOSS)
