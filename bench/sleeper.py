"""A worker as the services have them whose units cost a fixed time and no CPU: `celery -A bench.sleeper worker`."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from arith_shared.job import worker_app
from arith_shared.work import Context, Outcome, Unit
from bench.network import COST

if TYPE_CHECKING:
    from arith_shared.specs import Spec

app = worker_app("extract", "bench.sleeper", {"extract": "bench.sleeper:handle"})


def handle(spec: Spec, unit: Unit, context: Context) -> Outcome:
    """Sleep, report as a handler does, and leave what the ledger wants of a shard."""
    end = time.monotonic() + float(os.environ[COST])
    while (left := end - time.monotonic()) > 0:
        context.progress(-left, 0.0, "seconds")
        time.sleep(min(0.05, left))
    (context.output / "states.txt").write_text(unit.key, encoding="utf-8")
    count = unit.payload["count"]
    return Outcome(meta={**unit.payload, "tried": count, "solved": count, "kept": count})
