"""Training tokens per second: our loop beside Hugging Face's Trainer and a bare loop in the manner of nanoGPT."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.utils import logging

from arith_model.transformer import build_for
from arith_shared.problems import encode, sample
from arith_shared.specs import Spec
from arith_shared.work import Context, Unit
from arith_trainer.handler import handle
from bench.command import Options, main
from bench.machine import Machine, installed
from bench.race import OURS, Contestant, Timing, cpu_seconds, race
from bench.report import Report, Table, at_least, lap_rows, not_measured, ratio
from bench.shards import multiplied_weights, small_spec

TRAINER, LIGHTNING = "transformers Trainer", "Lightning Trainer"
LOOP = "bare loop (as nanoGPT)"
#: What a peer needs besides our own dependencies.
PACKAGES = {TRAINER: "accelerate", LIGHTNING: "lightning"}
IGNORE = -100


@dataclass(frozen=True, slots=True)
class Case:
    """A shape and how long it is trained in a turn; the first and the last step are not timed."""

    name: str
    texts: int
    steps: int
    fields: dict[str, Any]


PAPER = {"lm__layers": 2, "lm__heads": 16, "lm__width": 1024, "lm__ffn": 4096}
CASES = (Case("tiny-specialized", 256, 5, {}), Case("2 layers of the paper's width", 8, 4, PAPER))
QUICK = (Case("quick", 4, 4, {"lm__layers": 1, "lm__width": 16, "lm__ffn": 32}),)


def measure(options: Options, machine: Machine) -> Report:
    """Two shapes, the same weights, texts, precision and learning rate for all."""
    report = Report(
        "Training tokens per second, float32",
        "OPT decoders on problems of 22 tokens (EOS included), AdamW, gradient norm clipped at 1, loss on the "
        "answer; timed from the end of the first step to the end of the last but one. Our steps also draw the batch "
        f"of (seed, step), check loss and norm, and report. `{TRAINER}` and `{LIGHTNING}` have their defaults, "
        f"logging and saving off. `{TRAINER}` reads EOS too, which predicts nothing. "
        f"`{LOOP}` draws random rows and updates with AdamW as that script does on a CPU, not fused.",
    )
    table = Table("Tokens")
    report.targets += [
        not_measured(peer, ">= 1.05x", f"`{package}` is not installed; `make bench` installs it")
        for peer, package in PACKAGES.items()
        if not installed(package)
    ]
    for case in QUICK if options.quick else CASES:
        with tempfile.TemporaryDirectory() as name:
            ways = Ways(case, _spec(case), Path(name))
            for threads in options.threads:
                laps = race(ways.contestants(), options.rounds, threads)
                floor = ways.flops_per_token() / (1e9 * machine["gemm_fp32_gflops"][str(threads)])
                table.rows += lap_rows(laps, "tokens", threads, floor, shape=case.name)
                for peer in [lap.name for lap in laps if lap.name != OURS]:
                    what = f"{case.name}, {threads} thread(s): {peer}, CPU time / ours"
                    report.targets.append(at_least(what, 1.05, ratio(laps, peer), WHY))
    report.tables.append(table)
    report.targets.append(
        not_measured(
            "on a GPU: Trainer's time / ours, and MFU", ">= 1.5x, >= 40 %", "no GPU here; `make bench-gpu`"
        )
    )
    report.notes += [
        "Floor: 6 FLOPs per weight and token (Kaplan et al. 2020) at the measured float32 rate. arithctl may be "
        "above it: without dropout it leaves out the last block's work on tokens that carry no loss, with the same "
        "loss and gradients (tests/unit/arith_trainer/test_arith_trainer_answer_only.py). That is most of one block "
        "of three (tiny-specialized) or two, and less of a deeper LM; with dropout, as in the paper's recipes, it "
        "is not done.",
    ]
    return report


WHY = "forward and backward of the library's OPT bind, which all of them run; the loops around it cost little"


def _spec(case: Case) -> Spec:
    return small_spec(
        "tiny-specialized",
        case.texts,
        lm__training__problems=case.texts * case.steps,
        lm__training__batch_tokens=case.texts * 22,
        lm__training__optimizer="adamw",
        lm__training__warmup_steps=1,
        lm__training__evaluate_every=1_000,
        lm__training__evaluate_problems=1,
        lm__training__stop_at_accuracy=None,
        lm__training__checkpoint_every_s=3600.0,
        **case.fields,
    )


@dataclass(slots=True)
class Clock:
    """Seconds from the end of the first step to the end of the last but one."""

    last: int
    started: tuple[float, float] = (0.0, 0.0)
    found: Timing = field(default_factory=lambda: Timing(0.0, 0.0))

    def step(self, number: int) -> None:
        """Step `number`, from 1, has ended."""
        now = cpu_seconds(), time.perf_counter()
        if number == 1:
            self.started = now
        elif number == self.last:
            self.found = Timing(now[0] - self.started[0], now[1] - self.started[1])


@dataclass(slots=True)
class Ways:
    """The same training, three ways."""

    case: Case
    spec: Spec
    folder: Path

    def contestants(self) -> list[Contestant]:
        """Work is counted in tokens, EOS included."""
        ways: list[tuple[str, Callable[[], Timing]]] = [(OURS, self.ours)]
        ways += [(TRAINER, self.trainer)] if installed(PACKAGES[TRAINER]) else []
        ways += [(LIGHTNING, self.lightning)] if installed(PACKAGES[LIGHTNING]) else []
        ways += [(LOOP, self.loop)]
        tokens = self.case.texts * 22 * (self.case.steps - 2)
        return [Contestant(name, run, tokens) for name, run in ways]

    def flops_per_token(self) -> float:
        """6 per weight: embeddings are looked up, and do not count."""
        model = build_for(self.spec)
        positions = int(model.model.decoder.embed_positions.weight.numel())
        return 6.0 * (multiplied_weights(model) - positions)

    def ours(self) -> Timing:
        """The trainer's handler."""
        clock = Clock(self.case.steps - 1)

        def progress(done: float, total: float, unit: str, note: str = "") -> None:
            if unit == "steps" and done:
                clock.step(int(done))

        shutil.rmtree(self.folder / "ours", ignore_errors=True)
        output, scratch = self.folder / "ours" / "output", self.folder / "ours" / "scratch"
        output.mkdir(parents=True)
        scratch.mkdir()
        handle(self.spec, Unit("bench", "train", "model", 1, {}), Context({}, output, scratch, progress))
        return clock.found

    def trainer(self) -> Timing:
        """Hugging Face's Trainer with its defaults, logging and saving off."""
        logging.disable_progress_bar()
        clock, (ids, labels) = Clock(self.case.steps - 1), self._data()

        class Watch(TrainerCallback):  # type: ignore[misc]
            def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                clock.step(state.global_step)

        arguments = TrainingArguments(
            str(self.folder / "trainer"),
            per_device_train_batch_size=self.case.texts,
            num_train_epochs=1,
            learning_rate=1e-3,
            lr_scheduler_type="cosine",
            warmup_steps=1,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
        )
        rows = [{"input_ids": row, "labels": wanted} for row, wanted in zip(ids, labels, strict=True)]
        Trainer(build_for(self.spec), arguments, train_dataset=rows, callbacks=[Watch()]).train()
        return clock.found

    def lightning(self) -> Timing:
        """Lightning's Trainer around the same forward pass and loss."""
        from bench.lightning_loop import fit

        clock, (ids, labels) = Clock(self.case.steps - 1), self._data()
        model = build_for(self.spec).train()
        fit(model, answer_loss, clock.step, ids, labels, texts=self.case.texts, folder=self.folder)
        return clock.found

    def loop(self) -> Timing:
        """Random rows, forward, backward, clip, step."""
        clock, (ids, labels) = Clock(self.case.steps - 1), self._data()
        model = build_for(self.spec).train()
        trained = [value for value in model.parameters() if value.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=1e-3, betas=(0.9, 0.98))
        for step in range(1, self.case.steps):
            rows = torch.randint(len(ids), (self.case.texts,))
            loss = answer_loss(model, ids[rows], labels[rows])
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            clock.step(step)
        return clock.found

    def _data(self) -> tuple[Tensor, Tensor]:
        """int64[text, token], and the same where loss is put."""
        distribution = self.spec.task.training_distribution()
        count = self.spec.lm.training.problems if self.spec.lm.kind == "opt" else 0
        encoded = encode(sample(distribution, "train", 0, count, self.spec.seed), distribution)
        ids = torch.from_numpy(encoded.ids)
        question = torch.arange(ids.shape[1]) < torch.from_numpy(encoded.question_length)[:, None]
        return ids, ids.masked_fill(question, IGNORE)


def answer_loss(model: nn.Module, ids: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of the next token where a label stands; EOS is not read."""
    logits = model(ids[:, :-1], use_cache=False).logits
    return nn.functional.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORE)


if __name__ == "__main__":
    sys.exit(main("training", measure))
