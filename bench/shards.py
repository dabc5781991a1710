"""What the extraction benches share: an LM in a folder, and the extractor's handler called on it."""

from __future__ import annotations

import multiprocessing
import resource
import shutil
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from arith_extractor.handler import handle
from arith_model.tokenizer import save_tokenizer, tokenizer_for
from arith_model.transformer import build_for, save_model
from arith_shared.specs import Spec, parse_spec
from arith_shared.work import Artifact, Context, Unit
from arithctl import recipes


def small_spec(recipe: str, problems: int, **fields: Any) -> Spec:
    """A recipe that keeps all problems, in one shard of `problems`; `fields` as in lm__layers=6."""
    overrides = {"extract.keep": "all", "extract.shard_problems": problems}
    overrides |= {name.replace("__", "."): value for name, value in fields.items()}
    return recipes.load(recipe).resolve(list(overrides.items()))


def untrained_lm(spec: Spec, folder: Path) -> Artifact:
    """The spec's LM before training, as the trainer would leave it: what it says does not matter to its speed."""
    folder.mkdir()
    save_model(build_for(spec), folder)
    save_tokenizer(tokenizer_for(spec), folder)
    return Artifact("lm", "model", folder, f"digest of {folder}", {})


def multiplied_weights(model: PreTrainedModel) -> float:
    """Weights that a token is multiplied with: its embedding is looked up."""
    looked_up = model.get_input_embeddings().weight.numel()
    return float(sum(value.numel() for value in model.parameters()) - looked_up)


def extract_shard(spec: Spec, lm: Artifact, folder: Path, number: int = 0) -> None:
    """One unit of the stage `extract`, from problems to files; what an earlier turn left is written anew."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    count = spec.extract.shard_problems
    payload = {"weights": "trained", "split": "probe", "start": number * count, "count": count}
    handle(spec, Unit("bench", "extract", "shard", 1, payload), Context({"train": [lm]}, folder, folder))


def peak_memory(spec: Spec, lm: Artifact, folder: Path, shards: int) -> float:
    """MB resident at most in a process that extracts so many shards one after the other."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak, (spec.model_dump(mode="json"), lm.path, folder, shards))


def _peak(spec: dict[str, Any], lm: Path, folder: Path, shards: int) -> float:
    parsed, artifact = parse_spec(spec), Artifact("lm", "model", lm, "digest", {})
    for number in range(shards):
        extract_shard(parsed, artifact, folder, number)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
