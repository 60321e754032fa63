"""The documents match the code."""

import asyncio
import os
import re
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import click
import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from openapi_spec_validator import validate

from router import __version__
from router.api.http_protocol import FAULT, Respond
from router.api.request_head import BAD_REQUEST, BAD_VERSION
from router.cli.main import main
from router.config.settings import Settings, describe_settings
from router.model import EventKind, Intended, Level, Observed, Outcome, Scope, Source, Status
from router.processes.simulated_edges import Mode
from router.routing.cache_headers import CachePolicy, Sharing
from router.routing.decision import ModelState, Problem, Rejection, RouteReason
from router.routing.query import MAX_MODEL_LENGTH, Query
from router.routing.ranking import Ranker
from router.routing.response import BAD_MODEL, HEALTHY, NOT_FOUND, OVERLOADED, USE_EDGE, Answer
from router.routing.route_table import ALTERNATES_COUNT, RouteTable
from tests.support import contract, strategies
from tests.support.builders import a_fleet, a_fleet_but, a_key, a_table, an_edge
from tests.support.documents import DOCS, DOCUMENTS, opening_of
from tests.support.metrics import metrics_in_code
from tests.support.servers import ROOT, Stand, public_server, served, talk

ADRS = sorted((DOCS / "adr").glob("[0-9]*.md"))


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def rows_of(path: Path, columns: int) -> list[list[str]]:
    """The cells of every table row with this number of columns, without separator rows."""
    lines = [line for line in text_of(path).splitlines() if line.startswith("| ")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in rows if len(row) == columns]


def in_backticks(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def code_spans(path: Path) -> Counter[str]:
    """All texts in backticks outside of code blocks, with their counts."""
    return Counter(
        in_backticks(re.sub(r"^```.*?^```", "", text_of(path), flags=re.MULTILINE | re.DOTALL))
    )


# Files, links, commands


def test_readme_credits_the_geo_data() -> None:
    assert "[IP Geolocation by DB-IP](https://db-ip.com)" in text_of(ROOT / "README.md")


def anchors(path: Path) -> set[str]:
    """The anchors that GitHub makes of headings."""
    headings = re.findall(r"^#+ (.+)$", text_of(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(path: Path) -> list[str]:
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text_of(path)):
        if re.match(r"https?://", link):
            continue
        name, _, anchor = link.partition("#")
        target = path.parent / name if name else path
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    return broken


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_have_existing_targets(path: Path) -> None:
    assert broken_links(path) == []


def test_broken_link_is_detected(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# One Two\n[a](#one-two) [b](#three) [c](gone.md) [d](page.md#one-two)\n")

    assert broken_links(page) == ["#three", "gone.md"]


def pages_from(path: Path) -> set[Path]:
    """The pages that a page links to."""
    links = re.findall(r"\]\(([^)#\s]+\.md)[)#]", text_of(path))
    return {(path.parent / link).resolve() for link in links if not link.startswith("http")}


def test_every_page_is_reachable_from_the_readme() -> None:
    reached: set[Path] = set()
    ahead = {ROOT / "README.md"}
    while ahead:
        page = ahead.pop()
        reached.add(page)
        ahead |= pages_from(page) - reached

    assert set(DOCUMENTS) - reached == set()


# The order in which a newcomer needs the pages.
ORDER = [
    *("docs/api.md", "docs/clients.md"),
    *("docs/configuration.md", "docs/edges.md", "docs/geodata.md"),
    *("docs/running.md", "docs/cdn.md", "docs/cloudfront.md"),
    *("docs/operations.md", "docs/health.md", "docs/dashboard.md", "docs/metrics.md"),
    *("docs/simulate.md", "docs/upgrade.md", "CHANGELOG.md"),
    *("docs/scaling.md", "docs/performance.md"),
    *("docs/architecture.md", "docs/glossary.md", "docs/adr/README.md", "CONTRIBUTING.md"),
    *("docs/releasing.md", "docs/licences.md", "SECURITY.md"),
]


def test_readme_lists_every_page_in_order() -> None:
    _, _, rest = text_of(ROOT / "README.md").partition("## Documentation")
    section = rest.partition("\n## ")[0]

    assert re.findall(r"\]\(([^)]+)\)", section) == ORDER
    assert {ROOT / name for name in ORDER} >= set(DOCS.glob("*.md"))


def test_readme_is_short() -> None:
    assert len(text_of(ROOT / "README.md").splitlines()) <= 120


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_page_starts_with_its_purpose(path: Path) -> None:
    title, first = opening_of(text_of(path))

    assert title
    assert len(first) > 40, "say in a sentence below the title what a reader gets"


def test_version_is_dated_in_the_changelog() -> None:
    releases = re.findall(r"^## (.+)$", text_of(ROOT / "CHANGELOG.md"), re.MULTILINE)
    dated = [re.fullmatch(r"(\d+\.\d+\.\d+) - \d{4}-\d\d-\d\d", one) for one in releases]
    versions = [one[1] for one in dated if one]

    assert versions[0] == __version__
    assert releases[: -len(versions)] in ([], ["Unreleased"])


def commands_in(text: str) -> set[str]:
    """The words after `autorouter` in code, also after a line break."""
    spans = re.findall(r"`autorouter\s+([a-z]\w*)", text)
    blocks = re.findall(r"^ {4}(?:\S*/)?autorouter ([a-z]\w*)", text, re.MULTILINE)
    return {*spans, *blocks}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_documented_commands_exist(path: Path) -> None:
    assert commands_in(text_of(path)) <= set(main.commands)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_options_in_sentences_exist(path: Path) -> None:
    unknown = [
        span
        for span in code_spans(path)
        if re.match(r"autorouter\s", span) and not set(options_in(span)) <= options_of(span)
    ]

    assert unknown == []


def options_in(span: str) -> list[str]:
    return re.findall(r"(?<!\S)--?[a-z][a-z-]*", span)


def options_of(span: str) -> set[str]:
    """The options of the command at the start of `span`."""
    command: click.Command = main
    for word in span.split()[1:]:
        if isinstance(command, click.Group) and word in command.commands:
            command = command.commands[word]
    names = [name for one in command.params for name in (*one.opts, *one.secondary_opts)]
    return {*names, "--help", "-h"}


def test_unknown_option_is_detected() -> None:
    assert "--wide" in options_of("autorouter edges --wide")
    assert "--deep" not in options_of("autorouter edges --deep")


def test_readme_lists_every_command() -> None:
    first_cells = [row[0] for row in rows_of(ROOT / "README.md", 2)]

    assert commands_in(" ".join(first_cells)) == set(main.commands)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_documented_make_targets_exist(path: Path) -> None:
    targets = set(re.findall(r"^(\w+):", text_of(ROOT / "Makefile"), re.MULTILINE))

    assert set(re.findall(r"(?:`| {4})make (\w+)", text_of(path))) <= targets


def test_every_adr_is_listed() -> None:
    listed = re.findall(r"\((\d{4}-[\w-]+\.md)\)", text_of(DOCS / "adr" / "README.md"))

    assert listed == [path.name for path in ADRS]


def test_documents_named_in_code_exist() -> None:
    sources = [*ROOT.glob("router/**/*.py"), *ROOT.glob("router/*.json")]
    names = {name for path in sources for name in re.findall(r"docs/[\w/.-]+\w", text_of(path))}

    assert names
    assert {name for name in names if not (ROOT / name).exists()} == set()


def test_tests_named_in_documents_exist() -> None:
    defined = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^(?:async )?def (test_\w+)", text_of(path), re.MULTILINE)
    }
    named_here = {name for path in DOCUMENTS for name in re.findall(r"`(test_\w+)`", text_of(path))}

    assert named_here
    assert named_here - defined == set()


# Licences

ACCEPTED = {
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "MIT",
    "MIT-0",
    "MPL-2.0",
    "PSF-2.0",
}


def test_licences_are_accepted() -> None:
    rows = rows_of(DOCS / "licences.md", 3)[1:]
    document = {part for row in rows for part in re.split(" AND | OR ", row[2])}

    assert len(rows) > 30
    assert document <= ACCEPTED


# Settings


def test_generated_tables_are_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, DOCS / "generate.py", "--check"], capture_output=True, check=False
    )

    assert done.returncode == 0, done.stderr


def test_settings_table_has_every_setting() -> None:
    document = {row[0].strip("`"): row for row in rows_of(DOCS / "configuration.md", 4)}

    for setting in describe_settings():
        row = document[setting.variable]
        assert row[2].strip("`") == setting.default
        assert row[3].startswith(setting.about)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_documented_variables_exist(path: Path) -> None:
    known = {setting.variable for setting in describe_settings()}
    known |= {f"{each.variable}_FILE" for each in describe_settings() if each.is_secret}
    named_here = set(re.findall(r"\bAUTOROUTER_[A-Z_]*[A-Z]", text_of(path)))

    assert named_here <= known


def test_help_mentions_every_setting_and_command() -> None:
    document = CliRunner().invoke(main, ["--help"]).output

    assert all(setting.variable in document for setting in describe_settings())
    assert all(re.search(rf"^  {name} ", document, re.MULTILINE) for name in main.commands)


def leaves(group: click.Group, *words: str) -> dict[str, click.Command]:
    """Every command without subcommands, by its full name."""
    found: dict[str, click.Command] = {}
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            found |= leaves(command, *words, name)
        else:
            found[" ".join([*words, name])] = command
    return found


LEAVES = leaves(main)


@pytest.mark.parametrize("words", LEAVES)
def test_help_has_every_section(words: str) -> None:
    done = CliRunner().invoke(main, [*words.split(), "--help"])
    options = [param for param in LEAVES[words].params if isinstance(param, click.Option)]

    assert done.exit_code == 0
    assert LEAVES[words].help
    assert all(part in done.output for part in ("Options:", "Example:", "Exit codes:"))
    assert [option.name for option in options if not option.help] == []


@pytest.mark.parametrize("words", LEAVES)
def test_example_in_help_has_valid_options(words: str) -> None:
    _, _, document = (LEAVES[words].epilog or "").partition(f"autorouter {words}")

    LEAVES[words].make_context(words, shlex.split(document))


def test_help_shows_defaults() -> None:
    document = " ".join(CliRunner().invoke(main, ["explain", "--help"]).output.split())

    assert "[default: country]" in document


def test_documented_bash_completion_works() -> None:
    (line,) = re.findall(r"^ {4}(eval .+)$", text_of(DOCS / "running.md"), re.MULTILINE)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euc", f"{line}\ncomplete -p autorouter"],
        env={"PATH": path},
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.endswith("_autorouter_completion autorouter\n")
    assert line in CliRunner().invoke(main, ["--help"]).output


# Metrics


def test_metrics_tables_match_the_code() -> None:
    document = {
        in_backticks(name)[0]: (kind, set(in_backticks(labels)))
        for name, kind, labels, _ in rows_of(DOCS / "metrics.md", 4)
        if in_backticks(name)
    }

    assert document == metrics_in_code()


def test_alerts_use_existing_metrics() -> None:
    text = text_of(DOCS / "metrics.md")

    assert set(re.findall(r"autorouter_\w+", text)) <= set(metrics_in_code())


# Enums


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("api.md", [*RouteReason, *Status, *Scope, *Problem, *Rejection]),
        ("api.md", [*Observed, *Intended, *Mode, *EventKind]),
        ("health.md", [*Outcome, *Status, *Observed, *Intended]),
        ("metrics.md", [*Status, *EventKind, *Problem, FAULT.labels.reason]),
        ("metrics.md", [*(set(Source) - {Source.ASKED}), *Level, *(one.value for one in Sharing)]),
    ],
)
def test_pages_have_every_value_of_an_enum(page: str, words: Iterable[str]) -> None:
    assert [word for word in words if code_spans(DOCS / page)[str(word)] == 0] == []


def test_api_tables_have_exactly_the_enum_values() -> None:
    first_cells = [in_backticks(row[0]) for row in rows_of(DOCS / "api.md", 2)]
    words = {cell[0] for cell in first_cells if len(cell) == 1}

    assert set(RouteReason) | set(Status) <= words


# The OpenAPI document


def openapi() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(text_of(DOCS / "openapi.yaml"))
    return document


OPENAPI = openapi()
SCHEMAS = OPENAPI["components"]["schemas"]


def resolved(node: Any) -> Any:
    """The target of a local `$ref`."""
    while isinstance(node, dict) and "$ref" in node:
        target: Any = OPENAPI
        for step in node["$ref"].removeprefix("#/").split("/"):
            target = target[step]
        node = target
    return node


def schema_errors(schema: dict[str, Any], value: Any) -> list[str]:
    """The errors of JSON Schema 2020-12 for a value, with the document's components."""
    validator = Draft202012Validator({"components": OPENAPI["components"], **schema})
    return [error.message for error in validator.iter_errors(value)]


def response_errors(answer: Answer, path: str = "/v1/route", response: Any = None) -> list[str]:
    """The differences between a response and the document: status, headers and body."""
    responses = OPENAPI["paths"][path]["get"]["responses"]
    document = resolved(responses[str(answer.code)] if response is None else response)
    declared = {name.lower(): resolved(header) for name, header in document["headers"].items()}
    sent = {name.decode(): value.decode() for name, value in answer.headers}
    faults = [
        fault
        for name, header in declared.items()
        if name in sent or header.get("required", False)
        for fault in schema_errors(header["schema"], sent.get(name))
    ]
    unknown = set(sent) - set(declared) - {"content-type", "content-length"}
    media = document["content"][sent["content-type"]]
    body = yaml.safe_load(answer.body)
    return [*faults, *unknown, *schema_errors(media["schema"], body)]


def test_openapi_document_is_valid() -> None:
    validate(OPENAPI)

    assert OPENAPI["openapi"].startswith("3.1.")
    assert OPENAPI["info"]["version"] == __version__
    assert set(OPENAPI["paths"]) == {"/v1/route", "/healthz"}


ERRORS = (BAD_MODEL, BAD_REQUEST, BAD_VERSION, FAULT, USE_EDGE, NOT_FOUND, OVERLOADED)


def test_openapi_enums_match_the_code() -> None:
    assert SCHEMAS["Reason"]["enum"] == list(RouteReason)
    assert SCHEMAS["Status"]["enum"] == list(Status)
    assert SCHEMAS["Scope"]["enum"] == list(Scope)
    assert set(SCHEMAS["ModelState"]["enum"]) == set(ModelState) - {ModelState.ABSENT}
    assert set(SCHEMAS["Error"]["properties"]["code"]["enum"]) == {
        *Problem,
        *(answer.labels.reason for answer in ERRORS),
    }


def test_openapi_parameters_match_the_code() -> None:
    parameters = OPENAPI["components"]["parameters"]
    in_query = {name for name, one in parameters.items() if one["in"] == "query"}
    limits = Settings.__annotations__["ttl_s"].__metadata__[0]

    assert in_query == set(Query._fields)
    assert parameters["scope"]["schema"]["enum"] == list(Scope)
    assert parameters["model"]["schema"]["maxLength"] == MAX_MODEL_LENGTH
    assert SCHEMAS["Route"]["properties"]["alternates"]["maxItems"] == ALTERNATES_COUNT
    assert SCHEMAS["Route"]["properties"]["ttl"]["minimum"] == limits.ge
    assert SCHEMAS["Route"]["properties"]["ttl"]["maximum"] == limits.le


class Response(NamedTuple):
    """A response of a public listener."""

    status: int
    headers: dict[str, str]
    body: bytes


async def every_response() -> list[Response]:
    """The responses of a real public listener to every kind of request in every state."""
    apps = {fleet: await contract.an_app(fleet) for fleet in {one.fleet for one in contract.CASES}}
    requests: list[tuple[Respond, bytes]] = [
        *((apps[case.fleet].respond, case.raw) for case in contract.CASES),
        (contract.failing(apps["up"]), contract.Case().raw),
        (apps["up"].refuse, contract.Case().raw),
        (apps["up"].respond, contract.Case().raw.replace(b"Host", b"Guest")),
        (apps["up"].respond, contract.Case().raw.replace(b"HTTP/1.1", b"HTTP/2.0")),
    ]
    stand = Stand()
    async with served(stand.respond, public_server) as port:
        return [await respond_to(stand, port, *one) for one in requests]


async def respond_to(stand: Stand, port: int, respond: Respond, request: bytes) -> Response:
    stand.app = SimpleNamespace(respond=respond)
    head, _, body = (await talk(port, request)).partition(b"\r\n\r\n")
    opening, *lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return Response(int(opening.split()[1]), headers, body)


@pytest.fixture(scope="module")
def responses() -> list[Response]:
    return asyncio.run(every_response())


def test_openapi_has_every_status(responses: list[Response]) -> None:
    documented = OPENAPI["paths"]["/v1/route"]["get"]["responses"]

    assert {str(one.status) for one in responses} == set(documented)
    assert set(OPENAPI["paths"]["/v1/route"]["head"]["responses"]) == set(documented)


def test_openapi_and_api_md_have_every_error(responses: list[Response]) -> None:
    errors = {
        (str(one.status), yaml.safe_load(one.body)["code"])
        for one in responses
        if one.body and one.status >= 400
    }
    rows = [(row[0], *in_backticks(row[1])) for row in rows_of(DOCS / "api.md", 3)]

    assert {code for _, code in errors} == set(SCHEMAS["Error"]["properties"]["code"]["enum"])
    assert errors == {row for row in rows if re.fullmatch(r"[45]\d\d", row[0])}


def test_every_response_allows_cors(responses: list[Response]) -> None:
    for one in responses:
        assert one.headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize(
    ("answer", "path", "response"),
    [
        (HEALTHY, "/healthz", None),
        (BAD_MODEL, "/v1/route", None),
        (USE_EDGE, "/v1/route", None),
        (USE_EDGE, "/healthz", None),
        (NOT_FOUND, "/v1/route", OPENAPI["components"]["responses"]["NotFound"]),
    ],
)
def test_fixed_responses_match_openapi(answer: Answer, path: str, response: Any) -> None:
    assert response_errors(answer, path, response) == []


@given(data=st.data())
def test_random_responses_match_openapi(data: st.DataObject) -> None:
    catalog = data.draw(strategies.catalogs())
    fleet = data.draw(strategies.fleets(catalog))
    headers = ("CloudFront-Viewer-Country", "CloudFront-Viewer-City")
    policy = CachePolicy(max_age_s=data.draw(st.integers(0, 3600)), key_headers=headers)
    table = RouteTable(Ranker(catalog), fleet, policy)
    key, query = data.draw(strategies.keys(catalog)), data.draw(strategies.queries)

    answer = table.answer(key, query, data.draw(st.sampled_from(Sharing)))

    assert response_errors(answer) == []


def test_each_kind_of_response_matches_openapi() -> None:
    everyone_out = a_fleet(an_edge(intended=Intended.DRAINING))
    without = a_fleet(an_edge(models=()))
    requests = {
        200: (a_table(), a_key(), Query(model="Kokoro", all=True)),
        503: (a_table(everyone_out), a_key("yto-01"), Query()),
        404: (a_table(without), a_key("yto-01"), Query(model="kokoro-82m")),
    }
    for code, (table, key, query) in requests.items():
        answer = table.answer(key, query, Sharing.KEYED)
        assert answer.code == code
        assert response_errors(answer) == []


def test_wrong_response_is_detected() -> None:
    right = a_table(a_fleet_but()).answer(a_key(), Query(), Sharing.KEYED)
    body = right.body.replace(b'"ttl":300', b'"ttl":"300"').replace(b'"ok"', b'"fine"')
    wrong = Answer(
        code=200,
        headers=[*right.headers, (b"set-cookie", b"a=b")],
        body=body,
        etag=right.etag,
        labels=right.labels,
    )

    assert len(response_errors(wrong)) == 3
