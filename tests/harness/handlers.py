"""Who does the work of a test's worker: doubles for all stages, or the real trainer among them."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from arith_shared.ledger.plan import STAGES
from arith_shared.work import Context, Outcome, Unit

FAKE, REAL = "arith_shared.testing:fake_handler", "harness.handlers:train"
#: Seconds between two steps, so that a test can step in between them on any machine.
_PAUSE_S = 0.02

#: The services' own handlers by stage.
SERVICES = {
    "train": "arith_trainer.handler:handle",
    "extract": "arith_extractor.handler:handle",
    "probe": "arith_prober.handler:handle",
    "summarize": "arith_prober.handler:handle",
}


def handlers(trainer: str = FAKE) -> dict[str, str]:
    """Handlers by stage."""
    return {**dict.fromkeys(STAGES, FAKE), "train": trainer}


def train(spec: Any, unit: Unit, context: Context) -> Outcome:
    """Train for real with one thread, and leave what the double of the extractor reads."""
    import torch

    from arith_trainer.handler import handle

    def report(done: float, total: float, unit: str, note: str = "") -> None:
        context.progress(done, total, unit, note)
        time.sleep(_PAUSE_S)

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        outcome = handle(spec, unit, replace(context, progress=report))
    finally:
        torch.set_num_threads(threads)
    (context.output / "model.txt").write_text(f"seed {spec.seed}", encoding="utf-8")
    return outcome
