"""`arithctl doctor`."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from arithctl.options import json_option


@click.command(epilog="Example:  arithctl doctor")
@json_option
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """Check what is configured, reachable, missing or insecure, and say what to do about it.

    Exits with 3 if something that is configured cannot be used.
    """
    from arith_shared.settings import load_settings
    from arithctl.checks import examine
    from arithctl.errors import NOT_REACHABLE

    findings = list(examine(load_settings()))
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        width = max(len(finding.check) for finding in findings)
        for finding in findings:
            remedy = f" -> {finding.remedy}" if finding.remedy else ""
            click.echo(f"{finding.verdict:<8} {finding.check:<{width}}  {finding.found}{remedy}")
    if any(finding.verdict == "error" for finding in findings):
        ctx.exit(NOT_REACHABLE)
