"""Files are whole or absent."""

import errno
from pathlib import Path

import pytest

from perturbkit.core import files
from perturbkit.core.errors import FileError


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    files.write_text(path, "old")
    with pytest.raises(RuntimeError), files.atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_one_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with pytest.raises(FileError, match="free space"), files.atomic_path(path):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert not list(tmp_path.iterdir())


def test_space_is_asked_for_before_writing(tmp_path: Path) -> None:
    files.require_space(tmp_path / "not" / "yet", 1)
    with pytest.raises(FileError, match="are needed"):
        files.require_space(tmp_path, 10**18)


def test_missing_files_name_their_neighbours(tmp_path: Path) -> None:
    (tmp_path / "there.csv").write_text("x")
    with pytest.raises(FileError, match=r"holds there\.csv"):
        files.existing(tmp_path / "their.csv")
    with pytest.raises(FileError, match="does not exist"):
        files.existing(tmp_path / "no" / "their.csv")


def test_json_refuses_what_json_cannot_say(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Out of range"):
        files.write_json(tmp_path / "a.json", {"x": float("nan")})
    assert not list(tmp_path.iterdir())
    (tmp_path / "cut.json").write_text('{"x": ')
    with pytest.raises(FileError, match="cut short"):
        files.read_json(tmp_path / "cut.json")
