"""Side by side with HAProxy and nginx, in one run: ``python -m benchmarks`` from the root of the checkout.

How it measures and what the figures mean is told in ``docs/performance.rst``. Never part of the tests, except for
the pure parts (``figures``, ``report``, ``chart``).
"""
