"""What the fault tests and the pipeline tests share: real processes, a real broker, a real database, and faults."""
