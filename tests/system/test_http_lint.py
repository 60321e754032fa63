"""An HTTP linter checks public responses. docs/api.md explains each warning that remains."""

import re
from collections.abc import Iterator
from typing import NamedTuple

import httpx
import pytest
from httplint import HttpRequestLinter, HttpResponseLinter, levels

from tests.support.servers import HOST, ROOT, Dev, running_dev, wait_until
from tests.support.stand_in import SECRET

CANADIAN = {"X-Autorouter-Key": "CA~yto-01.yul-01.yto-02", "X-Origin-Verify": SECRET}
GERMAN = CANADIAN | {"X-Autorouter-Key": "DE~yul-01.yul-02.nyc-01"}


class Case(NamedTuple):
    """A request, and the expected status."""

    status: int
    method: str = "GET"
    path: str = "/v1/route"
    headers: dict[str, str] | None = None


CASES = {
    "keyed": Case(200, headers=CANADIAN),
    "keyed HEAD": Case(200, "HEAD", headers=CANADIAN),
    "keyed 304": Case(304, headers=CANADIAN | {"If-None-Match": "*"}),
    "private": Case(200),
    "private HEAD": Case(200, "HEAD"),
    "private 304": Case(304, headers={"If-None-Match": "*"}),
    "keyed 404": Case(404, path="/v1/route?strict=true", headers=GERMAN),
    "404": Case(404, path="/elsewhere"),
    "400": Case(400, path=f"/v1/route?model={'m' * 129}"),
    "403": Case(403, "POST"),
    "healthz": Case(200, path="/healthz"),
}


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    with running_dev(tmp_path_factory.mktemp("dev"), CDN_SECRET=SECRET) as one:
        wait_until(one.is_ready)
        yield one


def found(case: Case, response: httpx.Response) -> set[str]:
    """The linter's warnings and errors."""
    request = HttpRequestLinter()
    request.process_request_topline(case.method.encode(), str(response.url).encode(), b"1.1")
    request.process_headers(response.request.headers.raw)
    request.finish_content(True)
    linter = HttpResponseLinter(_related=request, no_content=not response.content)
    linter.process_response_topline(b"1.1", str(response.status_code).encode())
    linter.process_headers(response.headers.raw)
    linter.feed_content(response.content)
    linter.finish_content(True)
    return {type(note).__name__ for note in linter.notes if note.level in (levels.WARN, levels.BAD)}


def documented() -> set[str]:
    """The warnings that docs/api.md explains."""
    text = (ROOT / "docs" / "api.md").read_text()
    return set(re.findall(r"^- `([A-Z_]+)`: ", text, re.MULTILINE))


def test_linter_finds_only_documented_warnings(dev: Dev) -> None:
    notes: set[str] = set()
    with httpx.Client(base_url=f"http://{HOST}:{dev.port}", trust_env=False) as client:
        for name, case in CASES.items():
            response = client.request(case.method, case.path, headers=case.headers)
            assert response.status_code == case.status, name
            notes |= found(case, response)
    assert notes == documented()


def test_linter_reports_wrong_headers() -> None:
    request = httpx.Request("GET", f"http://{HOST}/v1/route")
    wrong = {"Cache-Control": "private, max-age=soon", "Content-Length": "3"}
    answer = httpx.Response(200, headers=wrong, content=b"{}", request=request)

    assert {"CC_BAD_VALUE_TYPE", "CL_INCORRECT"} <= found(CASES["private"], answer)
