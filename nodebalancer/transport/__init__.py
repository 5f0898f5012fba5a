"""Engines: the only owners of sockets. ``engine`` is the seam; everything above speaks to that."""
