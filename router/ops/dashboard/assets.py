"""The page's files as prepared responses. Each is read once; its ETag is made from its bytes."""

from collections.abc import Mapping
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from router.config.inputs import outlines
from router.routing.cache_headers import etag, is_match

_FOLDER = Path(__file__).parent / "static"
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
}


class Asset:
    """One file. Browsers cache it, and check each time whether it has changed."""

    def __init__(self, body: bytes, content_type: str) -> None:
        self._body = body
        self._headers = {
            "Cache-Control": "no-cache",
            "Content-Type": content_type,
            "ETag": etag(body).decode(),
        }

    def answer(self, request: Request) -> Response:
        """200, or 304 if the client has this version."""
        return respond_with_tag(request, self._body, self._headers)


def respond_with_tag(request: Request, body: bytes, headers: Mapping[str, str]) -> Response:
    """A response with the body, or 304 if the request has the ETag in `headers`."""
    known = request.headers.get("if-none-match", "").encode("latin-1")
    if is_match(known, headers["ETag"].encode()):
        kept = {name: value for name, value in headers.items() if name != "Content-Type"}
        return Response(status_code=304, headers=kept)
    return Response(body, headers=dict(headers))


def read_assets() -> dict[str, Asset]:
    """All files by name."""
    assets = {
        path.name: Asset(path.read_bytes(), _TYPES[path.suffix])
        for path in _FOLDER.iterdir()
        if path.suffix in _TYPES
    }
    return assets | {"outlines.json": Asset(outlines(), _TYPES[".json"])}
