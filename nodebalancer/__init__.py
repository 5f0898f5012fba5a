"""A load balancer on Twisted: ``twistd nodebalancer``.

``docs/architecture.rst`` says which room is for what; the laws of imports are held by ``make check``.
"""
