"""A server that speaks what Triton's HTTP clients speak (KServe's protocol with binary tensors), with ONNX Runtime behind it."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np

from gpsr_deploy.backends.onnxruntime import OnnxRuntimeBackend
from gpsr_deploy.model_files import onnx as onnx_file


class Server(ThreadingHTTPServer):
    """Serves the models of a repository of ONNX models; `requests` are the shapes that came."""

    daemon_threads = True

    def __init__(self, repository: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests: list[tuple[str, tuple[int, ...]]] = []
        self.models = {
            folder.name: OnnxRuntimeBackend(onnx_file.read(folder / "1/model.onnx"), device="cpu")
            for folder in repository.iterdir()
        }

    @property
    def url(self) -> str:
        return f"127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *_words) -> None:
        pass

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        _, v2, models, name, verb = self.path.split("/")
        assert (v2, models, verb) == ("v2", "models", "infer")
        split = int(self.headers["Inference-Header-Content-Length"])
        asked = json.loads(body[:split])
        (given,) = asked["inputs"]
        (wanted,) = asked["outputs"]
        if name not in self.server.models or (given["name"], given["datatype"], wanted["name"]) != ("lr", "FP32", "sr"):
            self._answer(400, json.dumps({"error": f"no model {name}"}).encode(), {})
            return
        lr = np.frombuffer(body[split:], np.float32).reshape(given["shape"])
        self.server.requests.append((name, lr.shape))
        sr = self.server.models[name].infer(lr)
        output = {"name": "sr", "datatype": "FP32", "shape": sr.shape, "parameters": {"binary_data_size": sr.nbytes}}
        head = json.dumps({"model_name": name, "model_version": "1", "outputs": [output]}).encode()
        self._answer(200, head + sr.tobytes(), {"Inference-Header-Content-Length": str(len(head))})

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def serving(repository: Path) -> Iterator[Server]:
    """A server on a port of its own."""
    server = Server(repository)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
