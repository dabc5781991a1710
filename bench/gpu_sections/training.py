"""Training tokens per second at the paper's size: the trainer's step, eager, compiled and as CUDA graphs.

All cases read the same batches of `opt-specialized` (16,384 tokens, padding included) in its precision, with dropout.
MFU counts the FLOPs that the model needs over the data sheet's peak; the other share is of the measured GEMM rate.
"""

from __future__ import annotations

import os
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from transformers import PreTrainedModel

from arith_model.devices import COMPILE_VARIABLE, compute_dtype
from arith_model.transformer import build_for
from arith_shared.problems import longest_text
from arith_trainer.course import Course
from arith_trainer.lessons import course_of
from arith_trainer.loop import Training, batch_loss, make_optimizer
from bench.flops import peak_flops, training_flops_per_token
from bench.gpu_sections.cases import Bench, Case, LeftOutError, Row
from bench.gpu_sections.recipe import spec_of

#: Steps before the clock starts: compiling, and three of CUDA graphs, which warm up, record and replay.
WARM_UP = 4
#: Seconds and steps that are timed at most: all steps lie in the first epoch, where all batches are equally large.
SECONDS, STEPS = 5.0, 200
QUICK = {
    "lm__layers": 1, "lm__heads": 2, "lm__width": 32, "lm__ffn": 64,
    "lm__training__problems": 400, "lm__training__batch_tokens": 88, "lm__training__precision": "float32",
}  # fmt: skip


def cases(bench: Bench) -> list[Case]:
    """Ways to make the same steps."""
    work = Work(bench, spec_of("opt-specialized", **(QUICK if bench.quick else {})))
    return [
        ("arithctl's loop", work.ours),
        ("transformers Trainer", work.trainer),
        ("eager", work.steps),
        ("eager, Adam not fused", partial(work.steps, fused=False)),
        ("torch.compile", partial(work.steps, mode="default")),
        ("torch.compile, CUDA graphs", partial(work.steps, mode="reduce-overhead")),
        ("arithctl's loop, ARITH_COMPILE=reduce-overhead", partial(work.ours, "reduce-overhead")),
        ("torch.compile, Adam not fused", partial(work.steps, mode="default", fused=False)),
    ]


class _EnoughError(Exception):
    """Raised out of the trainer's loop when enough steps were timed."""


@dataclass
class Clock:
    """Seconds from the end of the warm-up to the end of a later step."""

    bench: Bench
    first_s: float = 0.0
    seconds: float = 0.0
    steps: int = 0

    def __post_init__(self) -> None:
        """The first step begins now."""
        self.began = time.perf_counter()

    def step(self, number: int) -> bool:
        """Step `number`, from 1, was given to the device; return whether it was the last."""
        if number == 1:
            self.bench.wait()
            self.first_s = time.perf_counter() - self.began
        if number == WARM_UP:
            self.bench.wait()
            self.began = time.perf_counter()
        last = WARM_UP + (2 if self.bench.quick else STEPS)
        if number < last and (number <= WARM_UP or time.perf_counter() - self.began < SECONDS):
            return False
        self.bench.wait()
        self.seconds, self.steps = time.perf_counter() - self.began, number - WARM_UP
        return True


@dataclass
class Work:
    """The same training, several ways."""

    bench: Bench
    spec: Any

    @cached_property
    def course(self) -> Course:
        """The batches of the recipe; nothing is validated here."""
        return course_of(self.spec, self.spec.lm, lambda problems, each: 0.0)

    def steps(self, mode: str | None = None, *, fused: bool = True) -> Row:
        """Forward, backward, clip and update, nothing read back; `mode` is torch.compile's."""
        model = self._model()
        optimizer = make_optimizer(model, self.spec.lm.training)
        for group in optimizer.param_groups:
            group["fused"] = fused
        read = cast(nn.Module, torch.compile(model, mode=mode)) if mode else model
        clock = Clock(self.bench)
        for step in range(self.course.steps):
            self._step(model, read, optimizer, self.course[step])
            if clock.step(step + 1):
                break
        return self._row(clock)

    def _step(self, model: nn.Module, read: nn.Module, optimizer: torch.optim.Optimizer, batch: Any) -> None:
        torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        with compute_dtype(self.bench.device, self.spec.lm.training.precision):
            loss = batch_loss(read, batch.to(self.bench.device))
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), self.spec.lm.training.clip)
        optimizer.step()
        optimizer.zero_grad()

    def ours(self, compiled: str = "") -> Row:
        """The trainer's own loop: it also checks loss and norm, reports, and waits for the device once per step."""
        os.environ[COMPILE_VARIABLE] = compiled
        model, options, clock = self._model(), self.spec.lm.training, Clock(self.bench)

        def progress(done: float, total: float, unit: str, note: str = "") -> None:
            if clock.step(int(done)):
                raise _EnoughError

        # Looks at the validation accuracy and checkpoints are left out of all cases.
        options.evaluate_every, options.checkpoint_every_s = 10**9, 1e9
        with tempfile.TemporaryDirectory(dir=self.bench.folder) as name, suppress(_EnoughError):
            Training(
                model, self.course, options, self.bench.device, self.spec.seed, Path(name), progress
            ).run()
        return self._row(clock)

    def trainer(self) -> Row:
        """Hugging Face's Trainer with its defaults in the same precision; logging and saving off."""
        if not find_spec("accelerate"):
            raise LeftOutError("accelerate is not installed, which Trainer needs")
        from transformers import Trainer, TrainerCallback, TrainingArguments

        model, clock = self._model(), Clock(self.bench)

        class Watch(TrainerCallback):  # type: ignore[misc]
            def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                control.should_training_stop = clock.step(state.global_step)

        texts = len(self.course[0].ids)
        arguments = TrainingArguments(
            tempfile.mkdtemp(dir=self.bench.folder),
            per_device_train_batch_size=texts,
            max_steps=WARM_UP + STEPS,
            learning_rate=self.spec.lm.training.lr,
            lr_scheduler_type="cosine",
            bf16=self.spec.lm.training.precision == "bfloat16",
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=not self.bench.on_gpu,
        )
        batches = [self.course[step] for step in range(min(STEPS, self.course.steps))]
        # The library shifts labels once more, so that what it learns is nonsense; the work is the same.
        rows = [
            {"input_ids": ids, "labels": labels}
            for batch in batches
            for ids, labels in zip(batch.ids, batch.labels, strict=True)
        ]
        Trainer(model, arguments, train_dataset=rows, callbacks=[Watch()]).train()
        return self._row(clock)

    def _model(self) -> PreTrainedModel:
        # The course is made before any clock starts, and no case finds what another compiled.
        _ = self.course
        torch.compiler.reset()
        model: PreTrainedModel = build_for(self.spec).to(self.bench.device).train()
        return model

    def _row(self, clock: Clock) -> Row:
        lm = self.spec.lm
        text = longest_text(self.spec.task.training_distribution(), self.spec.task.chain)
        vocabulary = self.spec.task.training_distribution().vocabulary.size
        tokens = len(self.course[0].ids) * self.course[0].ids.shape[1] * clock.steps / clock.seconds
        flops = tokens * training_flops_per_token(lm.layers, lm.width, lm.ffn, vocabulary, text)
        peak = peak_flops(torch.cuda.get_device_name()) if self.bench.on_gpu else None
        return {
            "tokens/s": tokens,
            "ms/step": 1e3 * clock.seconds / clock.steps,
            "steps": clock.steps,
            "TFLOP/s": flops / 1e12,
            **({"MFU": flops / peak} if peak else {}),
            "against": f"GEMM {lm.training.precision}",
            "first step s": clock.first_s,
            **self.bench.peak_gb(),
        }
