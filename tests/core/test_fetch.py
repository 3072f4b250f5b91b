import hashlib
import http.server
import threading
from pathlib import Path

import pytest

from perturbkit.core.errors import FileError
from perturbkit.core.fetch import CACHE, OFFLINE, Download, cache_folder, fetch

CONTENT = b"gene1,gene2\nA,B\n"
DIGEST = hashlib.sha256(CONTENT).hexdigest()
URL = "https://example.org/x.csv"


@pytest.fixture
def answers(monkeypatch):
    """Let addresses answer from a table instead of the net; an exception is raised."""
    table, asked = {}, []

    class Downloader:
        def __init__(self, **options):
            assert options["timeout"] > 0

        def __call__(self, url, output_file, pooch):
            asked.append(url)
            answer = table[url]
            if isinstance(answer, Exception):
                raise answer
            if hasattr(output_file, "write"):
                output_file.write(answer)
            else:
                Path(output_file).write_bytes(answer)

    import pooch

    monkeypatch.setattr(pooch, "HTTPDownloader", Downloader)
    return table, asked


def test_a_file_is_downloaded_once_and_checked(tmp_path, answers):
    table, asked = answers
    table[URL] = CONTENT
    download = Download(name="x.csv", urls=(URL,), sha256=DIGEST)
    assert fetch(download, tmp_path).read_bytes() == CONTENT
    fetch(download, tmp_path)
    assert asked == [URL]


def test_mirrors_are_tried_in_turn(tmp_path, answers):
    table, asked = answers
    bad, wrong = "https://a.org/x", "https://b.org/x"
    table |= {bad: OSError("no route"), wrong: b"an error page", URL: CONTENT}
    download = Download(name="x.csv", urls=(bad, wrong, URL), sha256=DIGEST)
    assert fetch(download, tmp_path).read_bytes() == CONTENT
    assert asked == [bad, wrong, URL]


def test_when_no_mirror_answers_nothing_is_left(tmp_path, answers):
    table, _ = answers
    table |= {URL: OSError("no route"), "https://b.org/x": b"an error page"}
    download = Download(name="x.csv", urls=(URL, "https://b.org/x"), sha256=DIGEST)
    with pytest.raises(FileError, match=r"(?s)could not download x.csv.*no route.*put the file at"):
        fetch(download, tmp_path)
    assert not (tmp_path / "x.csv").exists()


def test_a_changed_file_is_refused(tmp_path):
    (tmp_path / "x.csv").write_bytes(b"changed")
    with pytest.raises(FileError, match="changed or is damaged"):
        fetch(Download(name="x.csv", urls=(URL,), sha256=DIGEST), tmp_path)


def test_without_a_published_checksum_the_first_is_remembered(tmp_path, answers):
    table, _ = answers
    table[URL] = CONTENT
    download = Download(name="x.csv", urls=(URL,))
    path = fetch(download, tmp_path)
    assert (tmp_path / "x.csv.sha256").read_text().strip() == DIGEST
    path.write_bytes(b"changed")
    with pytest.raises(FileError, match="if you trust the new one"):
        fetch(download, tmp_path)


def test_offline_fails_at_once_and_names_the_file(tmp_path, monkeypatch, answers):
    _, asked = answers
    monkeypatch.setenv(OFFLINE, "1")
    with pytest.raises(FileError, match=r"x\.csv is not here.*switched off"):
        fetch(Download(name="x.csv", urls=(URL,)), tmp_path)
    assert not asked
    (tmp_path / "x.csv").write_bytes(CONTENT)
    assert fetch(Download(name="x.csv", urls=(URL,), sha256=DIGEST), tmp_path).exists()


def test_only_https(tmp_path):
    for urls in (("http://example.org/x",), ("ftp://example.org/x",), ()):
        with pytest.raises(FileError, match="https only"):
            Download(name="x", urls=urls)


def test_the_cache_folder_follows_the_environment(tmp_path):
    assert cache_folder({CACHE: str(tmp_path)}) == tmp_path
    assert cache_folder({"XDG_CACHE_HOME": str(tmp_path)}) == tmp_path / "perturbkit"
    assert cache_folder({}).name == "perturbkit"


def test_https_without_a_server_is_an_error_in_words(tmp_path):
    # a local server that speaks no TLS: the real downloader fails fast and leaves nothing
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    threading.Thread(target=server.handle_request, daemon=True).start()
    url = f"https://127.0.0.1:{server.server_port}/x"
    with pytest.raises(FileError, match="could not download"):
        fetch(Download(name="x", urls=(url,)), tmp_path)
    server.server_close()
    assert not (tmp_path / "x").exists()
