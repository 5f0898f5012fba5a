"""Which node gets the next client. Pure."""
