"""A hub on this machine: the few answers that huggingface_hub asks for when it downloads a repository."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class HubServer:
    """Serves `files` (path in the repository -> bytes) as `repo` at `url` while the `with` block runs; `requests` lists what was asked.

    Files of at least 1,000 bytes are large ones, which the hub knows by their SHA-256; the others are known by git's hash.

    Attributes:
      wrong: paths whose bytes are changed on the way.
      broken: paths whose first answer ends in the middle.
    """

    def __init__(self, repo: str, files: dict[str, bytes], wrong: tuple[str, ...] = (), broken: tuple[str, ...] = ()):
        self.repo, self.files, self.wrong, self.broken = repo, files, wrong, set(broken)
        self.requests: list[tuple[str, str, str]] = []  # method, path, Range
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "HubServer":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def entry(self, path: str) -> dict:
        """What the hub says of a file."""
        data = self.files[path]
        git = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
        entry = {"type": "file", "path": path, "rfilename": path, "oid": git, "blobId": git, "size": len(data)}
        if len(data) >= 1000:
            digest = hashlib.sha256(data).hexdigest()
            entry["lfs"] = {"oid": digest, "sha256": digest, "size": len(data), "pointerSize": 134}
        return entry

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def do_HEAD(self) -> None:
                self.answer(body=False)

            def do_GET(self) -> None:
                self.answer(body=True)

            def answer(self, body: bool) -> None:
                path = unquote(urlsplit(self.path).path)
                hub.requests.append((self.command, path, self.headers.get("Range", "")))
                if path.startswith(f"/api/models/{hub.repo}/tree/"):
                    self.reply(json.dumps([hub.entry(name) for name in hub.files]).encode(), body)
                elif path.startswith(f"/api/models/{hub.repo}"):
                    siblings = [hub.entry(name) for name in hub.files]
                    facts = {"id": hub.repo, "modelId": hub.repo, "sha": COMMIT, "private": False, "tags": [], "siblings": siblings}
                    self.reply(json.dumps(facts).encode(), body)
                elif path.removeprefix(f"/{hub.repo}/resolve/{COMMIT}/") in hub.files:
                    self.file(path.removeprefix(f"/{hub.repo}/resolve/{COMMIT}/"), body)
                else:
                    self.reply(b"{}", body, status=404, headers={"X-Error-Code": "RepoNotFound"})

            def file(self, name: str, body: bool) -> None:
                data, entry = hub.files[name], hub.entry(name)
                headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{entry.get("lfs", {}).get("oid", entry["oid"])}"', "Accept-Ranges": "bytes"}
                if name in hub.wrong:
                    data = bytes([data[0] ^ 1]) + data[1:]
                start, status = 0, 200
                if ranged := self.headers.get("Range"):
                    start, status = int(ranged.removeprefix("bytes=").split("-")[0]), 206
                    headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
                if body and name in hub.broken:
                    hub.broken.remove(name)
                    self.reply(data[start:], body, status, headers, cut=True)
                else:
                    self.reply(data[start:], body, status, headers)

            def reply(self, data: bytes, body: bool, status: int = 200, headers: dict | None = None, cut: bool = False) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                for name, value in (headers or {}).items():
                    self.send_header(name, value)
                self.end_headers()
                if body:
                    self.wfile.write(data[: len(data) // 2] if cut else data)
                if cut:
                    self.close_connection = True

        return Handler
