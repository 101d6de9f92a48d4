"""A cache of each test's own, small copies of the file formats, and a server on this machine."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import struct
import threading
import time

import numpy as np
import pytest

from dlcore.data import mnist


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """The user's cache, empty; and no proxy between a test and its server."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("DLCORE_DATA", str(folder))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return folder


def idx(array: np.ndarray) -> bytes:
    header = struct.pack(">BBBB", 0, 0, 8, array.ndim)
    return header + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


class SmallSet:
    """Four IDX files like MNIST's: arrays, unpacked and gzipped bytes by file name."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.arrays = {}
        for part, n in (("train", 40), ("t10k", 20)):
            images = rng.integers(0, 256, (n, 6, 5), np.uint8)
            self.arrays[f"{part}-images-idx3-ubyte.gz"] = images
            self.arrays[f"{part}-labels-idx1-ubyte.gz"] = rng.integers(0, 10, n).astype(np.uint8)
        self.raw = {name: idx(array) for name, array in self.arrays.items()}
        self.gz = {name: gzip.compress(data, mtime=0) for name, data in self.raw.items()}

    def source(self, mirrors: tuple[str, ...]) -> mnist.Source:
        entries = [
            mnist.IdxFile(
                name,
                array.shape,
                hashlib.sha256(self.gz[name]).hexdigest(),
                hashlib.sha256(self.raw[name]).hexdigest(),
            )
            for name, array in self.arrays.items()
        ]
        return mnist.Source(mirrors, tuple(entries[:2]), tuple(entries[2:]))

    def write(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in self.gz.items():
            (folder / name).write_bytes(data)
        return folder


@pytest.fixture
def small_mnist(monkeypatch):
    """`mnist` is this small set; its only mirror is a port that nobody can listen on."""
    small = SmallSet(0)
    monkeypatch.setattr(mnist, "MNIST", small.source(("http://127.0.0.1:0/",)))
    return small


@pytest.fixture
def small_fashion_mnist(monkeypatch):
    small = SmallSet(1)
    monkeypatch.setattr(mnist, "FASHION_MNIST", small.source(("http://127.0.0.1:0/",)))
    return small


class Server:
    """Serves `files` by name, `slow` seconds later, without the last `lacking` bytes."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.lacking = 0
        self.slow = 0.0
        self.asked: list[str] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                time.sleep(outer.slow)
                data = outer.files.get(self.path.rsplit("/", 1)[-1])
                if data is None or not self.path.startswith("/good/"):
                    self.send_error(404)
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data[: len(data) - outer.lacking])

            def log_message(self, *args) -> None:
                pass

        self.http = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/good/"
        self.bad_url = self.url.replace("good", "bad")
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    def close(self) -> None:
        if self.thread.is_alive():
            self.http.shutdown()
            self.http.server_close()
            self.thread.join()


@pytest.fixture
def server():
    server = Server()
    yield server
    server.close()
