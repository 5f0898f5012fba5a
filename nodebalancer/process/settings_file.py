"""From the name of a file to its bytes, or to a sentence why not."""

from __future__ import annotations

from nodebalancer.errors import Problem, SettingsError


def read_bytes(path: str) -> bytes:
    """What is in the settings file at ``path``.

    Raises:
        SettingsError: With one problem; caught by the command line.
    """
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        message = "there is no such file; name yours with --config FILE, or try --demo, which needs none"
    except OSError as e:
        message = f"cannot be read: {(e.strerror or str(e)).lower()}"
    raise SettingsError((Problem(path, message),))
