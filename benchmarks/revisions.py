"""Older revisions of ours, unpacked beside the checkout, which stays as it is."""

from __future__ import annotations

import subprocess
from pathlib import Path

import attrs

from benchmarks.programs import StartError


@attrs.frozen
class Revisions:
    """Trees by revision.

    Attributes:
        root: The checkout; it is what runs when no revision is named.
        directory: Where others are unpacked.
    """

    root: Path
    directory: Path

    def tree(self, revision: str) -> Path:
        """Where the files of ``revision`` are; ``""`` is the checkout as it is, with changes not committed.

        Raises:
            StartError: Git does not know it; caught by ``__main__``.
        """
        if not revision:
            return self.root
        commit = self._git("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}").decode().strip()
        if not commit:
            raise StartError(f"there is no revision {revision}")
        tree = self.directory / commit
        if not tree.exists():
            tree.mkdir(parents=True)
            # The tarfile of Debian 12's Python cannot filter yet, and extracting without is deprecated in later ones.
            subprocess.run(["tar", "-x", "-C", tree], input=self._git("archive", commit), check=True)
        return tree

    def describe(self) -> str:
        """The checkout's commit, with ``+`` when something in it is not committed."""
        commit = self._git("rev-parse", "--short", "HEAD").decode().strip() or "no commit"
        return commit + ("+" if self._git("status", "--porcelain", "--untracked-files=no") else "")

    def _git(self, *arguments: str) -> bytes:
        return subprocess.run(["git", *arguments], cwd=self.root, stdout=subprocess.PIPE, check=False).stdout
