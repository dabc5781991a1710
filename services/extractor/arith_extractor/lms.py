"""The LM of this process: opened once for all shards of a run, with its tokenizer and the demonstrations read."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from arith_extractor.capture import Prefix, read_prefix
from arith_model import pretrained
from arith_model.attention import BEHIND_DEMONSTRATIONS
from arith_model.devices import choose_device
from arith_model.prompts import Prompter, Texts, own_texts
from arith_model.transformer import build_for, load_model
from arith_shared.errors import DamagedInputError, PromptError
from arith_shared.problems import Problems

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from arith_shared.specs import PretrainedSpec, Spec
    from arith_shared.work import Artifact


@dataclass(slots=True)
class Lm:
    """An LM ready to read."""

    model: PreTrainedModel
    #: None for an LM that knows our vocabulary.
    tokenizer: PreTrainedTokenizerFast | None
    _prefixes: dict[tuple[int, ...], Prefix] = field(default_factory=dict)

    def texts(self, spec: Spec, problems: Problems) -> Texts:
        """The problems as this LM reads them; raises PromptError where it cannot."""
        texts = (
            own_texts(spec, problems)
            if self.tokenizer is None
            else Prompter(spec, self.tokenizer).texts(problems)
        )
        longest = len(texts.prefix) + texts.ids.shape[1]
        limit = getattr(self.model.config, "max_position_embeddings", None)
        if limit is not None and longest > limit:
            raise PromptError(
                f"a problem after its demonstrations has {longest} tokens, and this LM reads {limit} at most: lower "
                "lm.prompt.demonstrations"
            )
        return texts

    def prefix(self, tokens: tuple[int, ...]) -> Prefix:
        """What all texts begin with: read on first use, then kept."""
        if tokens not in self._prefixes:
            self._prefixes = {tokens: read_prefix(self.model, tokens)}
        return self._prefixes[tokens]


#: The LM of this process's last shard, by digest, weights and precision: the next one is nearly always of the same
#: run. At most one is held, since two large LMs would not fit on one device.
_held: dict[tuple[str, str, str], Lm] = {}


def open_lm(artifact: Artifact, spec: Spec, weights: str) -> Lm:
    """The LM that an artifact of the stage `train` stands for, trained or as it was before.

    Raises PretrainedError when a pretrained LM is out of reach, DamagedInputError when it has changed meanwhile.
    """
    name = (artifact.digest, weights, spec.extract.precision)
    if name not in _held:
        _held.clear()
        _held[name] = _open(artifact, spec, weights)
    return _held[name]


def _open(artifact: Artifact, spec: Spec, weights: str) -> Lm:
    dtype, device = getattr(torch, spec.extract.precision), choose_device()
    lm = spec.lm
    folder = artifact.path if lm.kind != "pretrained" else _looked_up(lm, artifact.path)
    tokenizer = pretrained.load_tokenizer(folder) if lm.kind != "opt" else None
    if weights != "trained":
        model = (
            pretrained.build_untrained(folder, dtype, device, spec.seed)
            if lm.kind == "pretrained"
            else build_for(spec).to(device=device, dtype=dtype).eval()
        )
    elif lm.kind == "opt":
        model = load_model(folder, dtype, device)
    else:
        device_map = lm.device_map if lm.kind == "pretrained" else None
        if device_map is not None:
            pretrained.check_device_map(device_map)
        model = load_model(folder, dtype, device, device_map, BEHIND_DEMONSTRATIONS)
    return Lm(model, tokenizer)


def _looked_up(lm: PretrainedSpec, artifact: Path) -> Path:
    """The folder of a pretrained LM, if it still holds what was looked up when the run began."""
    folder = pretrained.find(lm)
    expected = json.loads((artifact / pretrained.FACTS_FILE).read_text(encoding="utf-8"))
    found = pretrained.fingerprint(folder).as_dict()
    changed = [name for name, value in found.items() if expected[name] != value]
    if changed:
        raise DamagedInputError(
            f"lm.path: {' and '.join(changed)} of the LM in {lm.path} changed since the run began; submit again"
        )
    return folder
