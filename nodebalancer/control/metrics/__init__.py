"""Figures for Prometheus, and ``/health``: counters that the data plane keeps anyway, read when somebody asks."""
