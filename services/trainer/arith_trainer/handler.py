"""A spec to a trained LM: glue only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from arith_model.devices import choose_device, device_name
from arith_model.tokenizer import save_tokenizer, tokenizer_for
from arith_model.transformer import build_for, save_model
from arith_shared.work import Context, Outcome, Unit
from arith_trainer.card import CARD_FILE, model_card
from arith_trainer.evaluate import accuracy
from arith_trainer.lessons import course_of
from arith_trainer.look_up import look_up
from arith_trainer.loop import LogLine, Training

if TYPE_CHECKING:
    from arith_shared.specs import Spec

#: The training log beside the weights: a JSON object per line.
LOG_FILE = "training.jsonl"


def handle(spec: Spec, unit: Unit, context: Context) -> Outcome:
    """Train the spec's LM, from the newest checkpoint if there is one, and write it as a Hugging Face folder.

    A pretrained LM is looked up instead. Raises DivergedError naming the step when the loss is no longer finite.
    """
    lm = spec.lm
    if lm.kind == "pretrained":
        return look_up(lm, context)
    device = choose_device()
    context.progress(0, 1, "steps", "making problems")
    model = build_for(spec).to(device)
    training = Training(
        model=model,
        course=course_of(spec, lm, lambda problems, each: accuracy(model, problems, device, each)),
        options=lm.training,
        device=device,
        seed=spec.seed,
        scratch=context.scratch,
        progress=context.progress,
    )
    training.run()
    save_model(model, context.output)
    save_tokenizer(tokenizer_for(spec), context.output)
    _write_log(context.output / LOG_FILE, training.log)
    last = training.log[-1]
    meta = {
        "accuracy": last["accuracy"],
        "loss": last["loss"],
        "steps": training.step,
        "tokens": training.course.tokens(training.step),
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "device": device_name(device),
    }
    card = model_card(spec, meta)
    (context.output / CARD_FILE).write_text(card, encoding="utf-8")
    return Outcome(meta=meta)


def _write_log(path: Path, log: list[LogLine]) -> None:
    path.write_text("".join(f"{json.dumps(line)}\n" for line in log), encoding="utf-8")
