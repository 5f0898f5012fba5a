"""The parts of the lean engine: its loop, its connections, and what moves bytes between two."""
