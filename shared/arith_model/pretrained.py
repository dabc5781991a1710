"""LMs that others trained: found on this machine or on the Hugging Face Hub, checked, and opened without their code.

Whatever the source, an LM ends up as a folder of safetensors weights, config and tokenizer. Its fingerprint is the
content: a hash of the weights, one of the tokenizer, one of the config without the entries that say where it came
from. What lies under a path may change; who opens an LM can tell whether it is still the one that was looked up.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from huggingface_hub import constants, snapshot_download
from safetensors import safe_open
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from arith_model.attention import BEHIND_DEMONSTRATIONS
from arith_model.seeds import derive_seed
from arith_shared.errors import MissingExtraError, PretrainedError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from arith_shared.specs import PretrainedSpec

#: What is fetched of a repository: nothing that could hold code, and no second copy of the weights.
_WANTED = ["*.json", "*.safetensors", "*.model", "*.txt"]
_UNWANTED = ["consolidated*", "*/*"]
#: Config entries that say where an LM came from or how it was stored, not what it computes.
_PROVENANCE = {"_name_or_path", "transformers_version", "torch_dtype", "dtype"}
#: What was looked up, as an artifact that stands for the LM.
FACTS_FILE = "lm.json"
#: Bytes hashed between two reports.
_CHUNK = 2**24


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What determines the hidden states that an LM gives; SHA-256, in hexadecimal."""

    weights: str
    tokenizer: str
    config: str

    def as_dict(self) -> dict[str, str]:
        """For JSON."""
        return asdict(self)


def find(lm: PretrainedSpec) -> Path:
    """The LM's folder: `lm.path` itself, or a copy of the Hub's repository, fetched if need be.

    Raises PretrainedError when there is none, it is out of reach, or it has no safetensors weights.
    """
    folder = Path(lm.path).expanduser()
    if not folder.is_dir():
        if folder.is_absolute() or lm.path.startswith((".", "~")) or lm.path.count("/") > 1:
            raise PretrainedError(
                f"lm.path: expected a folder or an id on the Hub such as mistralai/Mistral-7B-v0.1, found {lm.path}, "
                "which is no folder on this machine; every extractor and trainer must see it under this path"
            )
        folder = _fetch(lm)
    _check_files(folder)
    return folder


def check_shape(lm: PretrainedSpec, folder: Path) -> None:
    """Raise PretrainedError where the LM in `folder` has other layers or width than the spec says."""
    config = _config(folder)
    found = {"layers": config.num_hidden_layers, "width": config.hidden_size}
    wrong = {name: value for name, value in found.items() if value != getattr(lm, name)}
    if wrong:
        remedy = " ".join(f"-s lm.{name}={value}" for name, value in wrong.items())
        said = ", ".join(f"lm.{name}={getattr(lm, name)}" for name in wrong)
        raise PretrainedError(
            f"the spec says {said}, and the LM in {lm.path} is another: submit with {remedy}"
        )


def fingerprint(folder: Path, progress: Callable[[int, int], None] = lambda done, total: None) -> Fingerprint:
    """Read everything that determines hidden states; `progress` is told the bytes of weights done and in all."""
    weights = sorted(folder.glob("*.safetensors"))
    total, done = sum(path.stat().st_size for path in weights), 0
    digest = hashlib.sha256()
    for path in weights:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
                done += len(chunk)
                progress(done, total)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    kept = {name: value for name, value in config.items() if name not in _PROVENANCE}
    return Fingerprint(
        weights=digest.hexdigest(),
        tokenizer=_sha256(load_tokenizer(folder).backend_tokenizer.to_str()),
        config=_sha256(json.dumps(kept, sort_keys=True)),
    )


def parameters(folder: Path) -> int:
    """How many numbers the weights are; reads the files' headers alone."""
    count = 0
    for path in folder.glob("*.safetensors"):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 - not a dictionary
                size = 1
                for length in file.get_slice(name).get_shape():
                    size *= length
                count += size
    return count


def load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """The LM's tokenizer. Raises PretrainedError unless it can tell which characters a token covers."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise PretrainedError(f"{folder}: the tokenizer cannot be loaded: {_first_line(error)}") from error
    if not getattr(tokenizer, "is_fast", False):
        raise PretrainedError(
            f"{folder}: expected a fast tokenizer (tokenizer.json), which tells the characters of each token, found "
            f"{type(tokenizer).__name__}; convert it with transformers and save it beside the weights"
        )
    return tokenizer


def build_untrained(folder: Path, dtype: torch.dtype, device: torch.device, seed: int) -> PreTrainedModel:
    """The same LM before any training: its config, with the library's own random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "weights"))
        model: PreTrainedModel = AutoModelForCausalLM.from_config(
            _config(folder),
            attn_implementation=BEHIND_DEMONSTRATIONS,
            trust_remote_code=False,
            dtype=torch.float32,
        )
    return model.to(device=device, dtype=dtype).eval()


def check_device_map(device_map: str | None) -> None:
    """Raise MissingExtraError where the package that spreads weights over devices is not installed."""
    if device_map is not None and importlib.util.find_spec("accelerate") is None:
        raise MissingExtraError(
            f"lm.device_map={device_map} needs the package accelerate: pip install accelerate, or set "
            "lm.device_map=null to load the LM on one device"
        )


def _fetch(lm: PretrainedSpec) -> Path:
    try:
        return Path(
            snapshot_download(
                lm.path,
                revision=lm.revision,
                allow_patterns=_WANTED,
                ignore_patterns=_UNWANTED,
                local_files_only=constants.HF_HUB_OFFLINE,
            )
        )
    # Every failure of the Hub's client is one of these: no network, no such repository, no permission, no id.
    except (OSError, ValueError) as error:
        raise PretrainedError(
            f"lm.path: {lm.path} is no folder on this machine, and could not be fetched from the Hugging Face Hub "
            f"({_first_line(error)}). Where there is access, `hf download {lm.path} --local-dir FOLDER` fetches it "
            "(gated LMs need HF_TOKEN); then submit with -s lm.path=FOLDER"
        ) from error


def _check_files(folder: Path) -> None:
    if not (folder / "config.json").is_file():
        raise PretrainedError(f"{folder}: expected the folder of an LM, found no config.json in it")
    if not any(folder.glob("*.safetensors")):
        others = sorted(path.name for path in folder.iterdir() if path.suffix in (".bin", ".pt", ".pth"))
        raise PretrainedError(
            f"{folder}: expected weights in *.safetensors, found {', '.join(others) or 'none'}; other formats can "
            "hold code and are never opened: convert them elsewhere with save_pretrained of transformers"
        )


def _config(folder: Path) -> Any:
    try:
        return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise PretrainedError(
            f"{folder}: this version of transformers cannot open the LM without code of its own, which is never run: "
            f"{_first_line(error)}"
        ) from error


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {(str(error).strip() or 'no details').splitlines()[0]}"
