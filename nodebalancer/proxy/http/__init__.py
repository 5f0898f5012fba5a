"""HTTP clients: the table of their states, and what the states do."""
