"""`arithctl gc`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from arithctl.options import json_option

if TYPE_CHECKING:
    from arithctl.housekeeping import Piece


@click.command(epilog="Example:  arithctl gc --dry-run")
@click.option("--dry-run", is_flag=True, help="List what would be removed, and touch nothing.")
@json_option
def gc(dry_run: bool, as_json: bool) -> None:
    """Remove files that no run needs: of deleted runs, of killed attempts, checkpoints of finished work.

    With ARITH_MAX_BYTES set, hidden states of finished runs go too, least recently used first, until the rest
    fits; a later run makes again what it needs of them. Scores and models of a run are never removed.
    """
    from arith_shared.settings import load_settings
    from arithctl.connection import open_database, open_store
    from arithctl.housekeeping import Housekeeper, require_own_root

    settings = load_settings()
    require_own_root(settings)
    store = open_store(settings)
    with open_database(settings) as database:
        keeper = Housekeeper(database, store, max_bytes=settings.max_bytes)
        pieces = [piece for piece in keeper.find() if dry_run or keeper.remove(piece)]
    if as_json:
        click.echo(json.dumps(_summary(pieces), indent=2))
        return
    if dry_run:
        for piece in pieces:
            click.echo(f"{piece.kind:<12}  {piece.where}")
    _print(pieces, "would be removed" if dry_run else "removed")
    used = store.used_bytes()
    if not dry_run and settings.max_bytes is not None and used > settings.max_bytes:
        click.echo(
            f"{store.url} still holds {used:,} bytes, over ARITH_MAX_BYTES: the rest is in use", err=True
        )


def _summary(pieces: Sequence[Piece]) -> list[dict[str, object]]:
    """One object per kind of garbage, each with its paths."""
    from arithctl.housekeeping import KINDS

    of_kind = {kind: [piece for piece in pieces if piece.kind == kind] for kind in KINDS}
    return [
        {
            "kind": kind,
            "count": len(found),
            "bytes": sum(piece.size_bytes for piece in found),
            "paths": [str(piece.where) for piece in found],
        }
        for kind, found in of_kind.items()
    ]


def _print(pieces: Sequence[Piece], what: str) -> None:
    from arithctl.housekeeping import KINDS
    from arithctl.output import human_bytes

    for kind, label in KINDS.items():
        if found := [piece.size_bytes for piece in pieces if piece.kind == kind]:
            click.echo(f"{label}: {len(found)}, {human_bytes(sum(found))}")
    click.echo(f"{human_bytes(sum(piece.size_bytes for piece in pieces))} {what}")
