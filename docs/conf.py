"""Sphinx: `make docs` builds, and a warning is an error."""

import sys
from importlib.metadata import version as version_of
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "nodebalancer"
author = "The nodebalancer authors"
project_copyright = author
version = release = version_of("nodebalancer")

extensions = ["command_options", "exchange_states", "ini_reference", "metrics_reference"]
exclude_patterns = ["_build"]
highlight_language = "none"
nitpicky = True

html_theme = "alabaster"
html_theme_options = {
    "description": "A load balancer on Twisted",
    "page_width": "1200px",
    "fixed_sidebar": True,
}
html_show_sphinx = False

man_pages = [("nodebalancer.8", "nodebalancer", "balances TCP connections and HTTP requests over nodes", author, 8)]
