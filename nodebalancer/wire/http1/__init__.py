"""HTTP/1.1 as bytes: heads and bodies, read and judged (RFC 9112)."""
