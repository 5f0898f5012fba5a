"""Files that are read whole."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nodebalancer.reading import read_whole


def test_a_file_is_read_with_what_is_known_of_it(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"12345")
    data, status = read_whole(str(file), 5)
    assert (data, status.st_ino) == (b"12345", file.stat().st_ino)
    with pytest.raises(ValueError, match=r"^has more than 4 bytes$"):
        read_whole(str(file), 4)


def test_what_is_no_ordinary_file_is_not_waited_for(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for path in (str(fifo), os.devnull):
        with pytest.raises(ValueError, match=r"^is no ordinary file$"):
            read_whole(path, 5)


def test_what_is_not_there_or_a_directory_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_whole(str(tmp_path / "none"), 5)
    with pytest.raises(IsADirectoryError):
        read_whole(str(tmp_path), 5)
