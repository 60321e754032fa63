"""CloudFront's KeyValueStore API over real HTTP, with the quotas and ETags that AWS documents.

boto3 adds the account to the endpoint's host name, so the server is configured as an HTTP proxy.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

ARN = "arn:aws:cloudfront::123456789012:key-value-store/a1b2c3d4"
PAGE, KEYS_PER_CALL, MAX_PAIR_BYTES, MAX_STORE_BYTES = 50, 50, 1_024, 5 * 1_048_576


class FakeStore:
    """One store. `history`: its values after each write. `refuse`: the error of every request.

    `other_writer_at`: another client writes just before the write with this number.
    """

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.changes = 1
        self.writes = 0
        self.refuse: str | None = None
        self.history: list[dict[str, str]] = []
        self.other_writer_at: int | None = None
        self.env: dict[str, str] = {}

    @property
    def etag(self) -> str:
        return f"KV{self.changes}"

    def ask(self, method: str, path: str, query: str, etag: str, body: Any) -> tuple[int, Any]:
        """Handle a request. Returns the status, and a document or an error type."""
        if self.refuse is not None:
            return 403, self.refuse
        parts = [unquote(part) for part in path.split("/") if part]
        if parts[:2] != ["key-value-stores", ARN]:
            return 404, "ResourceNotFoundException"
        if method == "GET":
            return 200, self._page(query) if parts[2:] == ["keys"] else self._about()
        return self._update(etag, body)

    def _about(self) -> dict[str, Any]:
        size = sum(len(name) + len(text) for name, text in self.values.items())
        about = {"ItemCount": len(self.values), "TotalSizeInBytes": size}
        return {**about, "KvsARN": ARN, "Created": 0, "Status": "READY"}

    def _page(self, query: str) -> dict[str, Any]:
        asked = parse_qs(query)
        start = int(asked.get("NextToken", ["0"])[0])
        end = start + min(PAGE, int(asked.get("MaxResults", ["10"])[0]))
        items = [{"Key": key, "Value": text} for key, text in sorted(self.values.items())]
        more = {"NextToken": str(end)} if end < len(items) else {}
        return {"Items": items[start:end], **more}

    def _update(self, etag: str, body: Any) -> tuple[int, Any]:
        self.writes += 1
        if self.writes == self.other_writer_at:
            self.changes += 1
        if etag != self.etag:
            return 409, "ConflictException"
        puts = {item["Key"]: item["Value"] for item in body.get("Puts", ())}
        deletes = [item["Key"] for item in body.get("Deletes", ())]
        if not 1 <= len(puts) + len(deletes) <= KEYS_PER_CALL or not deletes <= [*self.values]:
            return 400, "ValidationException"
        if any(len(key) > 512 or len(key) + len(puts[key]) > MAX_PAIR_BYTES for key in puts):
            return 400, "ValidationException"
        values = {key: text for key, text in self.values.items() if key not in deletes} | puts
        if sum(len(key) + len(values[key]) for key in values) > MAX_STORE_BYTES:
            return 402, "ServiceQuotaExceededException"
        self.values, self.changes = values, self.changes + 1
        self.history.append(values)
        return 200, self._about()


@contextmanager
def key_value_store() -> Iterator[FakeStore]:
    """A running store. Its `env` makes boto3 use it."""
    store = FakeStore()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length) or b"{}")
            url = urlsplit(self.path)
            etag = self.headers.get("If-Match", "")
            assert self.headers["Authorization"].startswith("AWS4-ECDSA-P256-SHA256")
            status, result = store.ask(self.command, url.path, url.query, etag, body)
            data = json.dumps(
                {"Message": "rejected"} if isinstance(result, str) else result
            ).encode()
            self.send_response(status)
            if isinstance(result, str):
                self.send_header("x-amzn-ErrorType", result)
            self.send_header("ETag", store.etag)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_POST = do_GET  # noqa: N815 - so the base class calls it

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        store.env = {
            "HTTP_PROXY": f"http://127.0.0.1:{server.server_address[1]}",
            "NO_PROXY": "",
            "AWS_ENDPOINT_URL_CLOUDFRONT_KEYVALUESTORE": "http://kvs.test",
            "AWS_ACCESS_KEY_ID": "id",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        try:
            yield store
        finally:
            server.shutdown()
            thread.join()
