"""`arithctl verify`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from arithctl.options import json_option


@click.command(epilog="Example:  arithctl verify run.zip")
@click.argument("file", type=click.Path(path_type=Path))
@json_option
@click.pass_context
def verify(ctx: click.Context, file: Path, as_json: bool) -> None:
    """Check a FILE that `arithctl export` wrote: compare its hashes, and compute its tables again.

    Needs neither database nor network, and never extracts anything under a name from the file. Exits with 0 if all is
    as it says, with 1 if something differs, with 2 if it is no such file.
    """
    from arithctl.errors import RUN_FAILED
    from arithctl.exports import check
    from arithctl.exports.archive import MANIFEST, Reader

    with Reader(file) as reader:
        findings = list(check(reader))
        run, manifest = reader.manifest["run"], reader.digest(MANIFEST)
    fine = all(finding.verdict != "mismatch" for finding in findings)
    if as_json:
        document = {"run": run, "verified": fine, "manifest_sha256": manifest}
        click.echo(json.dumps(document | {"findings": [asdict(one) for one in findings]}, indent=2))
    else:
        for one in findings:
            click.echo(f"{one.verdict:<8}  {one.check:<9}  {one.found}")
        verdict = "is what it says" if fine else "is NOT what it says"
        click.echo(f"{file} {verdict}: run {run}, SHA-256 of the manifest {manifest}")
    if not fine:
        ctx.exit(RUN_FAILED)
