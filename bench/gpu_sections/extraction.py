"""Hidden states to Parquet beside a bare forward: the paper's OPT, and a model of Mistral 7B's shape.

The extractor's handler does what a unit does, from drawing problems to writing files; only the LM is handed to it,
with random weights made on the device. The bare forward reads the same tokens and keeps nothing.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from transformers import AutoModelForCausalLM, MistralConfig, PreTrainedModel

from arith_extractor import handler
from arith_extractor.lms import Lm
from arith_model.attention import BEHIND_DEMONSTRATIONS
from arith_model.tokenizer import tokenizer_for
from arith_model.transformer import build_for
from arith_shared.problems import sample
from arith_shared.work import Artifact, Context, Unit
from bench.gpu_sections.cases import Bench, Case, Row
from bench.gpu_sections.recipe import spec_of

SMALL_OPT = {"lm__layers": 1, "lm__heads": 2, "lm__width": 32, "lm__ffn": 64}
#: Mistral 7B (its config.json), and what is made of it where there is no GPU.
SEVEN_B = {
    "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 32000,
}  # fmt: skip
SMALL_7B = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 200,
}  # fmt: skip
#: Bytes that 32 layers in bfloat16 and a batch take; with less memory 4 layers stand for them.
ROOM = 24e9


def cases(bench: Bench) -> list[Case]:
    """A shard of each size, and the forward that it cannot do without."""
    quick = bench.quick
    few = {"extract__shard_problems": 20, "extract__batch_problems": 10} if quick else {}
    opt = partial(spec_of, "opt-specialized", **few, **(SMALL_OPT if quick else {}))
    seven = partial(spec_of, "mistral-cot", lm__kind="mistral", **few)
    # All layers of a whole shard would take 6 GB of the host's memory.
    all_layers = partial(seven, **({} if quick else {"extract__shard_problems": 128}))
    some = tuple(range(2 if quick else spec_of("mistral-cot").extract.layers_at_once))
    return [
        ("OPT, float32", partial(_extract, bench, opt, _opt)),
        ("OPT, bfloat16", partial(_extract, bench, partial(opt, extract__precision="bfloat16"), _opt)),
        ("7B-shaped, the recipe's layers at once", partial(_extract, bench, seven, _seven_b, some)),
        ("7B-shaped, all layers", partial(_extract, bench, all_layers, _seven_b)),
    ]


def _opt(bench: Bench, spec: Any) -> PreTrainedModel:
    dtype = getattr(torch, spec.extract.precision)
    model: PreTrainedModel = build_for(spec).to(device=bench.device, dtype=dtype).eval()
    return model


def _seven_b(bench: Bench, spec: Any) -> PreTrainedModel:
    shape = dict(SMALL_7B if bench.quick else SEVEN_B)
    if bench.on_gpu and torch.cuda.mem_get_info()[0] < ROOM:
        shape["num_hidden_layers"] = 4
    config = MistralConfig(**shape, sliding_window=None, max_position_embeddings=4096)
    with torch.device(bench.device):
        model: PreTrainedModel = AutoModelForCausalLM.from_config(
            config, attn_implementation=BEHIND_DEMONSTRATIONS, dtype=torch.bfloat16
        )
    return model.eval()


def _extract(
    bench: Bench,
    spec_with: Callable[[], Any],
    build: Callable[[Bench, Any], PreTrainedModel],
    layers: tuple[int, ...] | None = None,
) -> Row:
    """Time the handler and the bare forward in turns; the first turn of each does not count."""
    spec = spec_with()
    lm = Lm(build(bench, spec), tokenizer_for(spec) if spec.lm.kind == "mistral" else None)
    shard = Shard(bench, spec, lm, layers)
    # The handler gets this LM, in place of one that it would load from a folder.
    with patch.object(handler, "open_lm", lambda artifact, spec, weights: lm):
        turns = [(bench.timed(shard.bare), bench.timed(shard.write)) for _ in range(2 if bench.quick else 4)][
            1:
        ]
    bare, ours = (min(column) for column in zip(*turns, strict=True))
    blocks, payload = lm.model.config.num_hidden_layers, shard.payload_bytes()
    return {
        "problems/s": spec.extract.shard_problems / ours,
        "GB/s": payload / ours / 1e9,
        "GB written": payload / 1e9,
        "bare forward, problems/s": spec.extract.shard_problems / bare,
        "share of the bare forward": bare / ours,
        "blocks": blocks,
        "layers kept": len(layers or range(blocks + 1)),
        "TFLOP/s of the forward": shard.flops() / bare / 1e12,
        **bench.peak_gb(),
    }


@dataclass(frozen=True)
class Shard:
    """A range of problems, written or just read."""

    bench: Bench
    spec: Any
    lm: Lm
    layers: tuple[int, ...] | None

    @property
    def count(self) -> int:
        """Problems."""
        return int(self.spec.extract.shard_problems)

    def write(self) -> None:
        """One unit of the stage `extract`; its files are deleted."""
        folder = Path(tempfile.mkdtemp(dir=self.bench.folder))
        payload: dict[str, Any] = {"weights": "trained", "split": "probe", "start": 0, "count": self.count}
        if self.layers is not None:
            payload["layers"] = self.layers
        artifact = Artifact("lm", "model", folder, "random weights", {})
        unit = Unit("bench", "extract", "shard", 1, payload)
        handler.handle(self.spec, unit, Context({"train": [artifact]}, folder, folder))
        shutil.rmtree(folder)

    @torch.inference_mode()
    def bare(self) -> None:
        """The forward of the same batches, logits where the extractor needs them."""
        spec, lm = self.spec, self.lm
        problems = sample(spec.task.evaluation(), "probe", 0, self.count, seed=spec.seed)
        texts = lm.texts(spec, problems)
        question = int(texts.question_length[0])
        prefix = lm.prefix(texts.prefix)
        for rows in np.array_split(np.arange(self.count), -(-self.count // spec.extract.batch_problems)):
            ids = torch.from_numpy(texts.ids[rows, :-1]).to(self.bench.device)
            cache = prefix.repeated(len(rows))
            places = torch.arange(prefix.length, prefix.length + ids.shape[1], device=ids.device)
            logits = lm.model(
                ids,
                cache=cache,
                use_cache=cache is not None,
                position_ids=places.expand(ids.shape),
                logits_to_keep=ids.shape[1] - question + 1,
            ).logits
            logits.argmax(dim=-1).cpu()

    def flops(self) -> float:
        """2 per weight and token; embeddings are looked up, and the demonstrations are read once."""
        model = self.lm.model
        looked_up = model.get_input_embeddings().weight.numel()
        weights = float(sum(value.numel() for value in model.parameters()) - looked_up)
        return 2 * weights * self.count * self._tokens()

    def payload_bytes(self) -> int:
        """Bytes of hidden states in the files."""
        config = self.lm.model.config
        layers = len(self.layers or range(config.num_hidden_layers + 1))
        positions = len(self.spec.task.probed_tokens())
        return int(2 * layers * positions * config.hidden_size * self.count)

    def _tokens(self) -> int:
        problems = sample(self.spec.task.evaluation(), "probe", 0, 1, seed=self.spec.seed)
        return int(self.lm.texts(self.spec, problems).length[0]) - 1
