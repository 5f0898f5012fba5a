"""Fakes, shipped and tested; only tests import them."""
