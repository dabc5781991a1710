"""A pretrained LM is not trained but looked up: once per run, before anything is extracted.

What it finds stands for the weights from then on: later stages are keyed by the artifact's digest, which is that of
the facts written here, hashes of weights, tokenizer and config, and of no path. An LM that is out of reach, in an
unsafe format, or another than the spec says, so fails the run at its first unit.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from arith_model import pretrained
from arith_shared.work import Context, Outcome

if TYPE_CHECKING:
    from arith_shared.specs import PretrainedSpec


def look_up(lm: PretrainedSpec, context: Context) -> Outcome:
    """Find the LM, fetch it if need be, and record what it is; raises PretrainedError where that fails."""
    context.progress(0, 1, "bytes", f"looking for {lm.path}")
    folder = pretrained.find(lm)
    pretrained.check_shape(lm, folder)
    found = pretrained.fingerprint(folder, lambda done, total: context.progress(done, total, "bytes"))
    facts = found.as_dict() | {"parameters": pretrained.parameters(folder)}
    text = json.dumps(facts, indent=1, sort_keys=True)
    (context.output / pretrained.FACTS_FILE).write_text(text + "\n", encoding="utf-8")
    return Outcome(meta={**facts, "path": lm.path, "revision": lm.revision})
