"""What a Prometheus may ask: facts of the ledger, counted from its rows, so that no killed process loses a count."""
