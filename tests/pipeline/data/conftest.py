"""What the tests of the data sets share."""

import pytest
from pictures import fill

from pipeline.data.registry import load


@pytest.fixture(autouse=True)
def cache_folder(tmp_path_factory, monkeypatch):
    """Scans are remembered in a folder of the test's own, and no data set of the user's is found."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("PIPELINE_CACHE", str(folder))
    monkeypatch.delenv("PIPELINE_DATA", raising=False)
    return folder


@pytest.fixture
def photos(tmp_path):
    """Two classes of 40 pictures, 40x40."""
    return fill(tmp_path / "photos")


@pytest.fixture(scope="session")
def digits():
    """scikit-learn's digits."""
    return load("digits")
