"""Recipes: named, complete experiments, each a YAML file beside this one, or a file of the user's own."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from arith_shared.errors import SpecError
from arith_shared.specs import Spec, apply_overrides, parse_spec

_FOLDER = Path(__file__).parent
#: Keys of a recipe that describe it and are no part of the spec.
_PROSE = ("title", "description")


@dataclass(frozen=True, slots=True)
class Recipe:
    """A recipe as written: its text keeps the comments that name the source of each value."""

    name: str
    title: str
    description: str
    data: Mapping[str, Any]
    text: str

    def resolve(self, overrides: Sequence[tuple[str, Any]] = (), seed: int | None = None) -> Spec:
        """The validated spec with overrides applied; raises SpecError."""
        also = [("seed", seed)] if seed is not None else []
        return parse_spec(apply_overrides(self.data, [*overrides, *also]))


def names() -> list[str]:
    """The recipes that ship with the command line."""
    return sorted(path.stem for path in _FOLDER.glob("*.yaml"))


def load(name: str) -> Recipe:
    """A recipe by its name, or from a YAML file; raises SpecError saying what was expected and found."""
    if name in names():
        return _read(_FOLDER / f"{name}.yaml")
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise SpecError(f"{path}: no such file")
        return _read(path)
    close = difflib.get_close_matches(name, names(), n=1)
    hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(names())}"
    raise SpecError(f"unknown recipe {name!r}; {hint} (a file of your own must end in .yaml)")


class _Loader(yaml.SafeLoader):
    """PyYAML keeps the last of two equal keys and forgets the first without a word; this loader refuses."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            name = str(key.value)
            if name in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{name} stands here for the second time", key.start_mark
                )
            seen.add(name)
        return super().construct_mapping(node, deep)


def _read(path: Path) -> Recipe:
    try:
        text = path.read_text(encoding="utf-8")
        data = yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{path}: cannot be read: {error}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise SpecError(
            f"{path}: not valid YAML: {where}{getattr(error, 'problem', None) or error}"
        ) from None
    if not isinstance(data, dict):
        raise SpecError(
            f"{path}: expected the groups task, lm, extract and probe, found {type(data).__name__}"
        )
    prose = {key: str(data.pop(key, "")).strip() for key in _PROSE}
    return Recipe(path.stem, prose["title"], prose["description"], data, text)


def parse_override(text: str) -> tuple[str, Any]:
    """Split `a.b=c`, with `c` read as YAML; raises SpecError."""
    path, equals, value = text.partition("=")
    if not equals or not path:
        raise SpecError(f"override {text!r}: expected FIELD=VALUE, for example probe.mlp.epochs=60")
    try:
        return path.strip(), yaml.safe_load(value)
    except yaml.YAMLError:
        raise SpecError(f"override {text!r}: {value!r} is not a YAML value") from None
