"""The parts of the portable engine that move bytes."""
