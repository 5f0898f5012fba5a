from __future__ import annotations

from pathlib import Path

import pytest

from nodebalancer.testing.documents import Step, blocks, documents, steps
from nodebalancer.testing.nodes import ROOT

PAGE = """\
A page
======

.. code-block:: ini
   :caption: first.ini

   [nodebalancer www]

   [config www/web]

Text.

* In a list:

  .. code-block:: console

     $ true
.. code-block:: text

   no more
"""


def test_blocks_are_found_with_their_names_and_without_their_indentation(tmp_path: Path) -> None:
    (tmp_path / "page.rst").write_text(PAGE)
    first, second, third = blocks(tmp_path / "page.rst", tmp_path)
    assert (first.place, first.language, first.file) == ("page.rst 1", "ini", "first.ini")
    assert first.text == "[nodebalancer www]\n\n[config www/web]\n"
    assert (second.language, second.file, second.text) == ("console", "", "$ true\n")
    assert (third.place, third.text) == ("page.rst 3", "no more\n")


def test_no_code_block_of_the_documents_is_overlooked() -> None:
    for path in documents():
        assert sum(1 for _ in blocks(path)) == path.read_text().count(".. code-block::"), path
    assert {ROOT / "README.rst", ROOT / "docs/index.rst"} < set(documents())


def test_a_session_is_commands_and_what_they_print() -> None:
    assert steps("$ echo a; \\\n      echo b\na\n\nb\n\n# true\n") == [
        Step("echo a; echo b", "a\n\nb"),
        Step("true", ""),
    ]


def test_output_may_look_like_a_comment() -> None:
    assert steps("$ curl http://metrics\n# HELP of a figure\n# true\n")[0].output == "# HELP of a figure"


def test_a_session_begins_with_a_prompt() -> None:
    with pytest.raises(ValueError, match="no prompt"):
        steps("true\n$ true\n")
