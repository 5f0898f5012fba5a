"""The INI file: text to model and back."""

from nodebalancer.settings.reading import Loaded, load, read

__all__ = ["Loaded", "load", "read"]
