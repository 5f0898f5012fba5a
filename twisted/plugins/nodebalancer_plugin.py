"""Makes ``twistd nodebalancer`` known. Neither this directory nor the one above may have an ``__init__.py``."""

from twisted.application.service import ServiceMaker

nodebalancer = ServiceMaker(  # Twisted has not annotated it
    "nodebalancer",
    "nodebalancer.process.tap",
    "A load balancer that does what Linode's NodeBalancer does, configured by an INI file.",
    "nodebalancer",
)
