"""Which nodes answer, and where they are: probes, their timing, and the names that nodes go by."""
