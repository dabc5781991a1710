"""From YAML or JSON to a spec: overrides, and mistakes told in the user's words."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from arith_shared.errors import SpecError
from arith_shared.specs.groups import OptSpec
from arith_shared.specs.lm import MistralSpec, PretrainedSpec
from arith_shared.specs.spec import Spec

#: The kinds of LM; their names are part of the place of a mistake, as pydantic tells it.
_KINDS: dict[str, type[BaseModel]] = {"opt": OptSpec, "mistral": MistralSpec, "pretrained": PretrainedSpec}


def parse_spec(data: Mapping[str, Any]) -> Spec:
    """Validate `data` as a spec; raise SpecError with one line per mistake, each with the remedy."""
    try:
        return Spec.model_validate(data)
    except ValidationError as error:
        lines = [_explain(detail) for detail in error.errors(include_url=False)]
        raise SpecError("\n".join(lines)) from None


def apply_overrides(data: Mapping[str, Any], overrides: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Return `data` with dotted paths set, e.g. ``("probe.mlp.epochs", 60)``; `data` is left as it is."""
    result = {key: _copy(value) for key, value in data.items()}
    for path, value in overrides:
        node = result
        *parents, leaf = path.split(".")
        for name in parents:
            node = node.setdefault(name, {})
            if not isinstance(node, dict):
                raise SpecError(f"{path}: {name} is a value, not a group of fields")
        node[leaf] = value
    return result


def _copy(value: Any) -> Any:
    return {key: _copy(item) for key, item in value.items()} if isinstance(value, Mapping) else value


#: What to do about a field that a pretrained LM needs and nobody can guess.
_MISSING = {
    "path": "an id on the Hugging Face Hub, or a folder",
    "layers": "num_hidden_layers in the LM's config.json",
    "width": "hidden_size in the LM's config.json",
}


def _explain(detail: Mapping[str, Any]) -> str:
    place = list(detail["loc"])
    kind = "opt"
    if place[:1] == ["lm"] and place[1:2] and place[1] in _KINDS:
        kind = place.pop(1)
    location = [part for part in place if isinstance(part, str)]
    path = ".".join(map(str, place))
    if detail["type"] == "extra_forbidden":
        return f"{path}: unknown field{_nearest(location, kind)}"
    if detail["type"] == "missing":
        return f"{path}: required for lm.kind {kind}: {_MISSING.get(str(place[-1]), 'give it a value')}"
    if detail["type"] == "model_type":
        return f"{path}: expected a group of fields, found {detail['input']!r}"
    message = str(detail["msg"]).removeprefix("Value error, ")
    if not path:
        return message
    found = f" (found {detail['input']!r})" if not isinstance(detail["input"], Mapping | BaseModel) else ""
    return f"{path}: {message}{found}"


def _nearest(location: Sequence[str], kind: str) -> str:
    """Name the field of that name in another group, else the one in the same group that comes closest."""
    *group, name = location
    paths = [path.split(".") for path in _paths(Spec, "", kind)]
    if elsewhere := [path for path in paths if path[-1] == name]:
        return f"; did you mean {'.'.join(elsewhere[0])}?"
    if group == ["lm"] and (kinds := [other for other in _KINDS if name in _KINDS[other].model_fields]):
        return f": it belongs to lm.kind {' or '.join(kinds)}, and this is {kind}"
    siblings = sorted({path[len(group)] for path in paths if path[: len(group)] == group})
    close = difflib.get_close_matches(name, siblings, n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else f"; valid fields are {', '.join(siblings)}"


def field_paths(kind: str = "opt") -> list[str]:
    """The dotted path of every value of a spec with an LM of `kind`, e.g. ``probe.mlp.epochs``."""
    return _paths(Spec, "", kind)


def _paths(model: type[BaseModel], prefix: str, kind: str) -> list[str]:
    paths = []
    for name, field in model.model_fields.items():
        group = _KINDS[kind] if model is Spec and name == "lm" else field.annotation
        if isinstance(group, type) and issubclass(group, BaseModel):
            paths += _paths(group, f"{prefix}{name}.", kind)
        else:
            paths.append(f"{prefix}{name}")
    return paths
