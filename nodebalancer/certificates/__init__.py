"""Certificates: reading and judging them, what TLS is spoken with them, and their renewal while running."""
