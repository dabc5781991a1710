"""Content keys: the hash of everything that determines an artifact, and of nothing else.

Never part of a key: paths, names of runs, devices, numbers of workers, anything that only changes speed.
The schema numbers stand for the code: raise one when the same inputs would give other bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import BaseModel

    from arith_shared.specs import Spec

#: Raised when the code of a stage changes what it writes for the same inputs. It was not for the model card: the
#: weights are the same, and a model that was trained before there were cards is worth more than its card.
SCHEMA = {"train": 1, "extract": 1, "probe": 2, "summarize": 2}

#: Hexadecimal characters of a key: 128 bits, so accidental collisions need about 1e19 artifacts.
KEY_LENGTH = 32


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def content_key(stage: str, **determinants: Any) -> str:
    """Hash `determinants` (JSON values) under the stage's schema number."""
    text = canonical_json({"stage": stage, "schema": SCHEMA[stage], **determinants})
    return hashlib.sha256(text.encode()).hexdigest()[:KEY_LENGTH]


def spec_key(spec: Spec) -> str:
    """The key of a whole spec: runs with equal keys are the same experiment."""
    return hashlib.sha256(canonical_json(spec.model_dump(mode="json")).encode()).hexdigest()[:KEY_LENGTH]


def train_key(spec: Spec, run: str = "") -> str:
    """A model is determined by what it is trained on, how, and the seed.

    A pretrained LM is only looked up, and what lies under its path may change: so each `run` looks for itself. What
    it finds has the digest of its weights, which all that follows is keyed by, so equal weights are still reused.
    """
    if spec.lm.kind == "pretrained":
        return content_key("train", path=spec.lm.path, revision=spec.lm.revision, run=run)
    return content_key("train", **train_determinants(spec))


def train_determinants(spec: Spec) -> dict[str, Any]:
    """The fields of a spec that the weights of an LM trained here follow from."""
    task = _task(spec, {"layout", "training", "lengths", "max_number", "names", "chain"})
    later = {"questions", "course", "lesson_problems", "lesson_accuracy"}
    lm = spec.lm.model_dump(mode="json", exclude={"training": {"checkpoint_every_s", *later}, "prompt": True})
    if spec.lm.kind != "pretrained":
        lm["training"] |= _beyond_defaults(spec.lm.training, later)
    return {"task": task, "lm": lm, "seed": spec.seed}


def untrained_digest(spec: Spec, model_digest: str) -> str:
    """Stands for the weights before training, which follow from the LM's shape, its vocabulary and the seed.

    The shape has a place for each token of the longest text, and so depends on the layouts and the chain. The shape
    of a pretrained LM is told by the digest of the trained one.
    """
    if spec.lm.kind == "pretrained":
        return content_key("train", shape_of=model_digest, seed=spec.seed, untrained=True)
    task = _task(spec, {"layout", "training", "max_number", "names", "chain"})
    lm = spec.lm.model_dump(mode="json", exclude={"training", "prompt"})
    return content_key("train", task=task, lm=lm, seed=spec.seed, untrained=True)


def extract_key(spec: Spec, model_digest: str, payload: dict[str, Any]) -> str:
    """A shard is determined by the weights and tokenizer, the problems, and what is written of them."""
    options = spec.extract.model_dump(mode="json", include={"precision", "dtype", "layers", "batch_problems"})
    options["keep"] = "all" if spec.extract.keeps_all(payload["split"]) else "solved"
    options |= _beyond_defaults(spec.extract, {"criterion", "positions"})
    asked = {} if spec.lm.kind == "opt" else {"prompt": spec.lm.prompt.model_dump(mode="json")}
    task = _task(spec, {"layout", "max_number", "names", "chain"})
    return content_key(
        "extract", model=model_digest, task=task, options=options, shard=payload, seed=spec.seed, **asked
    )


def _task(spec: Spec, names: set[str]) -> dict[str, Any]:
    """The named fields of the task, and how its text is written."""
    return spec.task.model_dump(mode="json", include=names) | _beyond_defaults(
        spec.task, {"separator", "question", "values", "number_tokens"}
    )


def _beyond_defaults(group: BaseModel, names: set[str]) -> dict[str, Any]:
    """Fields that came after the first artifacts: at their defaults they leave the keys as they were."""
    return group.model_dump(mode="json", include=names, exclude_defaults=True)


def probe_key(spec: Spec, shard_keys: Sequence[str], payload: dict[str, Any]) -> str:
    """A block of scores is determined by the shards, how many problems are used, and the families' options."""
    options = spec.probe.model_dump(
        mode="json",
        include={"controls", "resamples", "keep_predictions", *payload["families"]},
        exclude={"mlp": {"dtype"}},
    )
    if "mlp" in options:
        options["mlp"] |= _beyond_defaults(spec.probe.mlp, {"dtype"})
    counts = {"n_train": spec.extract.n_train, "n_eval": spec.extract.n_eval}
    return content_key(
        "probe", shards=list(shard_keys), counts=counts, options=options, block=payload, seed=spec.seed
    )


def summary_key(spec: Spec, artifact_keys: Sequence[str]) -> str:
    """The summary is determined by the shards and blocks of scores it is made from."""
    return content_key(
        "summarize", artifacts=list(artifact_keys), threshold=spec.probe.threshold, seed=spec.seed
    )
