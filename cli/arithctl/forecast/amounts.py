"""What each unit of a run asks of a machine, as amounts of a few kinds of work.

A kind is `start` (a worker's first unit: imports, opening the LM), `unit`, `bytes` (hidden states written),
`bootstrap` (FLOPs of intervals), or FLOPs of an LM or a probe family at a width, `opt@160`: small matrices are
multiplied far more slowly than large ones, so FLOPs at different widths are different work.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from arith_shared.ledger import plan
from arith_shared.ledger.rounds import extracted_layers, layer_groups
from arith_shared.specs import Spec
from arithctl.forecast import counts

#: How much of each kind of work.
Amounts = dict[str, float]


def of_stages(spec: Spec) -> dict[str, list[Amounts]]:
    """The units of every stage, those of all its rounds together, in the order in which they are sent out."""
    rounds = layer_groups(spec)
    return {
        "train": [of_unit(spec, "train", {})],
        "extract": [
            of_unit(spec, "extract", {"count": spec.extract.shard_problems, "layers": group})
            for group in rounds
            for _ in range(counts.shards(spec))
        ],
        "probe": [of_unit(spec, "probe", block) for block in plan.probe_units(spec, extracted_layers(spec))],
        "summarize": [{"unit": 1.0}],
    }


def of_unit(spec: Spec, kind: str, payload: Mapping[str, Any]) -> Amounts:
    """One unit of a kind of stage, from its payload; what a worker does once is `start` and not in it."""
    if kind == "train":
        return {"unit": 1.0, _at(spec.lm.kind, spec): counts.train_flops(spec)}
    if kind == "extract":
        layers = payload.get("layers") or extracted_layers(spec)
        share = len(layers) / len(extracted_layers(spec))
        return {
            "unit": 1.0,
            "bytes": payload["count"] * counts.problem_bytes(spec) * share,
            _at(spec.lm.kind, spec): payload["count"] * counts.extract_flops(spec),
        }
    return _of_block(spec, payload) if kind == "probe" else {"unit": 1.0}


def _of_block(spec: Spec, payload: Mapping[str, Any]) -> Amounts:
    shares = [counts.fitted_share(spec, payload["layer"], position) for position in payload["positions"]]
    cells = [counts.probe_flops(spec, share) for share in shares if share]
    families = payload["families"]
    return {
        "unit": 1.0,
        "bootstrap": len(families) * sum(cell["bootstrap"] for cell in cells),
        **{_at(family, spec): sum(cell[family] for cell in cells) for family in families},
    }


def _at(kind: str, spec: Spec) -> str:
    # A pretrained LM is of any architecture; its cost is nearest to that of the widest LM that was timed.
    return f"{'opt' if kind == 'pretrained' else kind}@{spec.lm.width}"
