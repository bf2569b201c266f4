"""The charts' script and its place in the user's cache."""

import pytest

from pipeline.report.vega import vega_script


@pytest.fixture
def cached(tmp_path, monkeypatch):
    """Makes the script afresh and returns its file."""
    monkeypatch.setenv("PIPELINE_CACHE", str(tmp_path))
    vega_script.cache_clear()
    script = vega_script()
    (file,) = (tmp_path / "vega").iterdir()
    yield script, file
    vega_script.cache_clear()


@pytest.mark.parametrize("damaged", [b"", b"x" * 70, None])
def test_a_damaged_script_in_the_cache_is_made_again(cached, damaged):
    script, file = cached
    intact = file.read_bytes()
    file.write_bytes(intact[:-1] if damaged is None else damaged)
    vega_script.cache_clear()
    assert vega_script() == script
    assert file.read_bytes() == intact


def test_the_script_is_made_where_the_cache_cannot_be_written(cached, tmp_path, monkeypatch):
    script, _ = cached
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("PIPELINE_CACHE", str(tmp_path / "file"))
    vega_script.cache_clear()
    assert vega_script() == script
