"""Every reader against damaged files: a clear error that names the file, never a wrong network."""

import gzip

import pytest

from perturbkit.core.errors import FileError, PerturbkitError, SchemaError
from perturbkit.graphs import GRAPHS
from perturbkit.graphs.lines import FREE_BYTES, Layout, blocks, read_table
from perturbkit.graphs.read import read_graph

FROM_FILES = [n for n, card in GRAPHS.items() if card.takes == "files"]
TABLES = [n for n in FROM_FILES if n not in ("graphml",)]


def main_file(folder, name):
    """The file of a network that holds most of its lines."""
    return max(folder.iterdir(), key=lambda p: (p.stat().st_size, p.name))


@pytest.fixture(params=FROM_FILES)
def name(request):
    return request.param


def expect(folder, name, kind=PerturbkitError):
    with pytest.raises(kind) as caught:
        read_graph(name, folder)
    return str(caught.value)


def test_whole_files_are_read(folder_of, name):
    assert read_graph(name, folder_of(name)).n_edges > 0


def test_gzip_cut_short(folder_of, name):
    folder = folder_of(name, zipped=True)
    file = main_file(folder, name)
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    message = expect(folder, name, FileError)
    assert file.name in message
    assert "cut short" in message


def test_a_checksum_that_fails(folder_of, name):
    folder = folder_of(name, zipped=True)
    file = main_file(folder, name)
    content = bytearray(file.read_bytes())
    content[-8] ^= 255
    file.write_bytes(bytes(content))
    assert "damaged" in expect(folder, name, FileError)


def test_empty_file(folder_of, name):
    folder = folder_of(name)
    file = main_file(folder, name)
    file.write_bytes(b"")
    assert f"{file.name} is empty" in expect(folder, name, FileError)


def test_an_error_page_instead_of_the_file(folder_of, name):
    folder = folder_of(name)
    file = main_file(folder, name)
    file.write_text("<!DOCTYPE html>\n<html><body>404 Not Found</body></html>\n")
    message = expect(folder, name)
    assert str(file.name) in message
    plain, named_gz = folder_of(name, zipped=True), None
    for path in folder.iterdir():
        if path.suffix != ".gz":
            path.unlink()
    named_gz = main_file(plain, name)
    named_gz.write_text("<html>404</html>\n")
    assert "not gzip" in expect(folder, name, FileError)


def test_binary_garbage(folder_of, name, rng):
    folder = folder_of(name)
    main_file(folder, name).write_bytes(b"\xff\xfe" + rng.bytes(2000).replace(b"PK", b"xx"))
    assert main_file(folder, name).name in expect(folder, name)


def test_a_zip_archive(folder_of, name):
    folder = folder_of(name)
    main_file(folder, name).write_bytes(b"PK\x03\x04" + bytes(100))
    assert "unpack it" in expect(folder, name, FileError)


@pytest.mark.parametrize("table", TABLES)
def test_short_line(folder_of, table):
    folder = folder_of(table)
    file = main_file(folder, table)
    text = file.read_text()
    if table == "go":
        file, text = folder / "goa_human.gaf", (folder / "goa_human.gaf").read_text()
    short = "A pp" if table == "sif" else "A"
    file.write_text(text + short + "\n")
    message = expect(folder, table)
    n_lines = text.count("\n") + 1
    assert file.name in message
    assert f"line {n_lines}" in message


def with_header(table):
    return table not in ("go", "reactome", "gmt", "sif", "trrust", "graphml")


@pytest.mark.parametrize("table", [t for t in TABLES if with_header(t)])
def test_wrong_columns(folder_of, table):
    folder = folder_of(table)
    file = main_file(folder, table)
    _, _, body = file.read_text().partition("\n")
    width = body.split("\n")[0]
    separator = next(s for s in "\t, " if s in width)
    header = separator.join(f"x{i}" for i in range(width.count(separator) + 1))
    file.write_text(header + "\n" + body)
    message = expect(folder, table, SchemaError)
    # these two have a layout without a header as well, which the columns then do not fit
    assert ("values for" if table in ("humap", "yeastract") else "x0") in message


@pytest.mark.parametrize("table", [t for t in TABLES if with_header(t)])
def test_too_many_values_in_a_line(folder_of, table):
    folder = folder_of(table)
    file = main_file(folder, table)
    lines = file.read_text().splitlines()
    separator = next(s for s in "\t, " if s in lines[1])
    lines.insert(2, lines[1] + separator + "more")
    file.write_text("\n".join(lines) + "\n")
    message = expect(folder, table, SchemaError)
    assert "line 3" in message


@pytest.mark.parametrize(
    ("table", "old", "new"),
    [("string", " 630", " x30"), ("dorothea", "-1.0", "minus"), ("collectri", "-1", "down"),
     ("edge_list", "-2", "two"), ("biogrid", "559292", "yeast")],
)  # fmt: skip
def test_text_where_a_number_belongs(folder_of, table, old, new):
    folder = folder_of(table)
    file = main_file(folder, table)
    file.write_text(file.read_text().replace(old, new, 1))
    message = expect(folder, table, SchemaError)
    assert "must be a number" in message
    assert new.strip() in message


def test_header_alone(folder_of):
    for table in ("humap", "yeastract", "dorothea", "edge_list"):
        folder = folder_of(table)
        file = main_file(folder, table)
        file.write_text(file.read_text().splitlines()[0] + "\n")
        assert "no lines" in expect(folder, table, SchemaError)


@pytest.fixture(scope="session")
def bombs(tmp_path_factory):
    """A gigabyte of zeros without a line end, and one of lines: gzip may have many members."""
    folder = tmp_path_factory.mktemp("bombs")
    for name, line in (("zeros.gz", b"\0"), ("lines.gz", b"A B 1\n")):
        member = gzip.compress(line * (10_000_000 // len(line)))
        (folder / name).write_bytes(member * 100)
    return folder


def test_decompression_bomb_of_a_gigabyte(folder_of, name, bombs):
    folder = folder_of(name, zipped=True)
    for path in folder.iterdir():
        if path.suffix != ".gz":
            path.unlink()
    file = main_file(folder, name)
    file.unlink()
    file.symlink_to(bombs / "zeros.gz")
    message = expect(folder, name)
    assert file.name in message
    assert "unpacks to more than" in message or "no line end" in message


def test_bombs_stop_long_before_their_end(bombs):
    total = 0
    with pytest.raises(FileError, match="unpacks to more than"):
        for block in blocks(bombs / "lines.gz", 1 << 20):
            total += len(block)
    assert total < 3 * FREE_BYTES


def test_external_entities_are_refused(folder_of):
    folder = folder_of("graphml")
    file = main_file(folder, "graphml")
    hostile = '<!DOCTYPE g [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
    file.write_text(file.read_text().replace("<graphml", hostile + "<graphml", 1))
    assert "document type" in expect(folder, "graphml", FileError)


def test_a_folder_is_not_a_file(tmp_path):
    with pytest.raises(FileError, match="is a folder"):
        list(blocks(tmp_path))


def test_blocks_never_split_a_line(tmp_path):
    text = b"".join(b"%d\tsome text\n" % i for i in range(500)) + b"end\tno newline"
    for suffix, content in (("txt", text), ("txt.gz", gzip.compress(text))):
        path = tmp_path / f"t.{suffix}"
        path.write_bytes(content)
        for size in (64, 1000, 1 << 20):
            parts = list(blocks(path, size))
            assert b"".join(parts) == text
            assert all(p.endswith(b"\n") for p in parts[:-1])


def test_line_numbers_count_over_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr("perturbkit.graphs.lines.blocks", lambda p: blocks(p, 64))
    path = tmp_path / "t.tsv"
    path.write_text("a\tb\n" + "x\t1\n" * 200 + "y\tz\n")
    import polars as pl

    with pytest.raises(SchemaError, match="line 202: b is 'z'"):
        read_table(path, {"a": pl.String, "b": pl.Int64}, Layout("\t"))


def test_windows_line_ends_and_byte_order_mark(folder_of):
    folder = folder_of("humap")
    file = main_file(folder, "humap")
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes().replace(b"\n", b"\r\n"))
    assert list(read_graph("humap", folder).nodes) == ["A", "B", "C"]
