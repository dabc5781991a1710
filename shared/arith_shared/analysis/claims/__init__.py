"""The paper's claims as rules over the rows of a run, or of two runs together (`docs/paper-claims.md`)."""

from arith_shared.analysis.claims.evidence import Evidence
from arith_shared.analysis.claims.judge import judge

__all__ = ["Evidence", "judge"]
