"""What the submitting side can tell of a pretrained LM without loading it: whether a folder of this machine fits.

The folder may also lie on the workers' machines alone; then the run's first unit checks the same.
"""

from __future__ import annotations

import json
from pathlib import Path

from arith_shared.errors import SpecError
from arith_shared.specs import Spec

#: Fields of the spec by the entries of a Hugging Face config; OPT and GPT-2 have names of their own.
_ENTRIES = {"layers": ("num_hidden_layers", "n_layer"), "width": ("hidden_size", "n_embd")}


def settle(spec: Spec) -> Spec:
    """The spec with the folder of its LM as an absolute path, if it is one here; workers run elsewhere.

    Raises SpecError where its config.json says other layers or width than the spec.
    """
    if spec.lm.kind != "pretrained" or not Path(spec.lm.path).expanduser().is_dir():
        return spec
    folder = Path(spec.lm.path).expanduser().resolve()
    _check_shape(spec, folder)
    return spec.model_copy(update={"lm": spec.lm.model_copy(update={"path": str(folder)})})


def _check_shape(spec: Spec, folder: Path) -> None:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SpecError(f"lm.path: {folder} is not the folder of an LM: config.json: {error}") from None
    wrong = []
    for name, entries in _ENTRIES.items():
        found = next((config[entry] for entry in entries if entry in config), None)
        if found is not None and found != getattr(spec.lm, name):
            wrong.append((name, getattr(spec.lm, name), found))
    if wrong:
        said = ", ".join(f"lm.{name}={value}" for name, value, _ in wrong)
        remedy = " ".join(f"-s lm.{name}={found}" for name, _, found in wrong)
        raise SpecError(f"the spec says {said}, and the LM in {folder} is another: submit with {remedy}")
