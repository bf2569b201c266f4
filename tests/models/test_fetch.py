"""Published weights are fetched whole, or not at all, from a real HTTP server on this machine."""

import dataclasses
import gc
import http.server
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner

from models.errors import CheckpointError
from models.weights.catalogue import CHECKPOINTS
from models.weights.fetch import fetched
from pipeline.commands.weights import command

# Keras leaves the answer of a failed request open
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

HDF5 = b"\x89HDF\r\n\x1a\n" + bytes(5000)
SAFETENSORS = (2).to_bytes(8, "little") + b"{}"
COMMIT = "0123456789012345678901234567890123456789"
_PROGRAM = """
import sys
from models.errors import CheckpointError
from models.weights.catalogue import checkpoint_of
from models.weights.fetch import fetched
try:
    print("at", fetched(sys.argv[1], checkpoint_of(sys.argv[1])))
except CheckpointError as error:
    print("refused", error)
"""


class Server(http.server.BaseHTTPRequestHandler):
    """Whole files, half a file, a page instead of a file, and the hub's answers."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, *, body):
        content, length = HDF5, len(HDF5)
        if "page" in self.path:
            content = b"<html>sign in to the network</html>"
            length = len(content)
        elif "broken" in self.path:
            content = HDF5[:1000]
        elif "resolve" in self.path:
            content, length = SAFETENSORS, len(SAFETENSORS)
        self.send_response(200 if "missing" not in self.path else 404)
        self.send_header("Content-Length", str(length))
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", '"abc"')
        # said, since a client would send its next request into a connection that is just being closed
        self.send_header("Connection", "close")
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, *_):
        """Quiet."""


@pytest.fixture(scope="module")
def address():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture
def keras_home(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    yield tmp_path / "models"
    gc.collect()


def of_keras(name, url):
    return fetched(name, dataclasses.replace(CHECKPOINTS[name], url=url))


def test_file_of_keras_lands_whole_in_its_cache_and_is_fetched_once(keras_home, address):
    path = of_keras("mobilenet_0.25_128", f"{address}/whole.h5")
    assert path == keras_home / "mobilenet_2_5_128_tf.h5"
    assert path.read_bytes() == HDF5
    assert list(keras_home.iterdir()) == [path]
    assert of_keras("mobilenet_0.25_128", f"{address}/missing.h5") == path


@pytest.mark.parametrize("kind", ["broken", "page", "missing"])
def test_other_content_is_refused_and_leaves_nothing(keras_home, address, kind):
    with pytest.raises(CheckpointError) as refused:
        of_keras("mobilenet_0.25_128", f"{address}/{kind}.h5")
    assert f"Fetch {address}/{kind}.h5 with a browser, and put it at" in str(refused.value)
    assert list(keras_home.iterdir()) == []


def test_content_without_the_publishers_checksum_is_refused(keras_home, address):
    with pytest.raises(CheckpointError, match="file hash does not match"):
        of_keras("densenet121", f"{address}/whole.h5")
    assert list(keras_home.iterdir()) == []


def from_hub(folder, **environment):
    """What a process that fetches from the hub prints last: the library reads its settings once."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", _PROGRAM, "mobilenetv1_100_timm"],
        env={**os.environ, "HF_HOME": str(folder / "hub"), "HF_HUB_DISABLE_XET": "1", **environment},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout.strip().splitlines()[-1]


def test_file_of_the_hub_lands_in_its_cache(tmp_path, address):
    path = Path(from_hub(tmp_path, HF_ENDPOINT=address).removeprefix("at "))
    assert path.is_relative_to(tmp_path / "hub")
    assert path.read_bytes() == SAFETENSORS


def test_hub_that_is_not_allowed_is_one_line_that_says_what_to_do(tmp_path):
    said = from_hub(tmp_path, HF_HUB_OFFLINE="1")
    assert "HF_HUB_OFFLINE is set" in said
    assert "resolve/main/model.safetensors with a browser" in said


def test_list_says_what_is_here(keras_home):
    cached = keras_home / "mobilenet_5_0_160_tf.h5"
    cached.parent.mkdir()
    cached.write_bytes(HDF5)
    done = CliRunner().invoke(command, ["--json"])
    here = {row["name"]: row["path"] for row in json.loads(done.stdout) if row["path"]}
    assert here == {"mobilenet_0.5_160": str(cached)}
