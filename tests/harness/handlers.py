"""Who does the work of a test's worker: doubles for all stages, or the real trainer among them."""

from __future__ import annotations

from typing import Any

from arith_shared.ledger.plan import STAGES
from arith_shared.work import Context, Outcome, Unit

FAKE, REAL = "arith_shared.testing:fake_handler", "harness.handlers:train"

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
    """Train for real, and leave what the double of the extractor reads."""
    from arith_trainer.handler import handle

    outcome = handle(spec, unit, context)
    (context.output / "model.txt").write_text(f"seed {spec.seed}", encoding="utf-8")
    return outcome
