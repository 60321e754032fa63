"""Environment → Settings, with every fault at once.

The fields below are the documentation too: `--help` and docs/configuration.md are
made from their names, types, ranges, defaults and descriptions.
"""

import difflib
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta

from router.config.values import (
    Cidrs,
    GeoFiles,
    Hosts,
    Listen,
    Names,
    PurgeSpecs,
    RedisUrl,
    Secret,
    Secrets,
    Share,
    Urls,
    parse_path,
)
from router.errors import ConfigError

PREFIX = "AUTOROUTER_"
MAX_SECRET_FILE_LENGTH = 16_384


def _about(text: str, *, unit: str = "", **limits: Any) -> Meta:
    return Meta(description=text, extra={"unit": unit}, **limits)


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything an operator can set, by environment variable AUTOROUTER_<FIELD>."""

    regions: Annotated[
        Path | None,
        _about("The catalog. Default in a checkout: its regions.yaml."),
    ] = None
    geo_db: Annotated[
        GeoFiles,
        _about(
            "The geo database: one file, or one for IPv4 and one for IPv6. Default: the newest in "
            "AUTOROUTER_GEO_DIR, or else the installed package of DB-IP City Lite."
        ),
    ] = GeoFiles()
    geo_overrides: Annotated[
        Path | None,
        _about("A geofeed (RFC 8805) with locations of networks; used before the database."),
    ] = None
    latency: Annotated[
        Path | None,
        _about(
            "A CSV file of measured round-trip times (country, region, ms) for `nearness: network`."
        ),
    ] = None
    geo_dir: Annotated[
        Path | None,
        _about(
            "The folder for geo data that `autorouter geodata` downloads. "
            "Default: autorouter in the user's data folder."
        ),
    ] = None
    geo_mirror: Annotated[
        str | None,
        _about(
            "The https URL of a server to use instead of DB-IP's and MaxMind's, like `--mirror`."
        ),
    ] = None
    maxmind_account_id: Annotated[
        str | None, _about("The account for `autorouter geodata update --from maxmind`.")
    ] = None
    maxmind_license_key: Annotated[Secret | None, _about("The license key of that account.")] = None
    redis_url: Annotated[
        RedisUrl | None,
        _about("The Redis that `serve` and `poll` share. Without it, `serve` polls by itself."),
    ] = None
    store_timeout_s: Annotated[
        float,
        _about(
            "Timeout for connecting to Redis, and for each response. Allow for three round trips.",
            unit="s",
            ge=0.1,
            le=10,
        ),
    ] = 1.0
    listen: Annotated[Listen, _about("The public listener.")] = Listen("0.0.0.0", 8080)  # noqa: S104
    workers: Annotated[
        int,
        _about("The number of worker processes, like `serve --workers`.", ge=1, le=64),
    ] = 1
    max_connections: Annotated[
        int,
        _about(
            "Connection limit of each process on the public port. Above it, the connections that "
            "have made no progress for longest are closed.",
            ge=16,
            le=65_536,
        ),
    ] = 8_192
    ops_listen: Annotated[
        Listen, _about("The ops listener. Keep it on loopback or a private network.")
    ] = Listen("127.0.0.1", 9090)
    ops_hosts: Annotated[
        Hosts,
        _about(
            "More host names that the ops listener accepts, such as the name of a proxy, "
            "comma-separated. IP addresses and names without a dot are always accepted."
        ),
    ] = Hosts()
    poll_listen: Annotated[
        Listen | None,
        _about("The listener of `poll` for /healthz, /readyz and /metrics. Default: none."),
    ] = None
    ops_token: Annotated[
        Secret | None,
        _about(
            "The bearer token for changes through the ops listener. "
            "Without it, changes are accepted only from loopback."
        ),
    ] = None
    state_dir: Annotated[
        Path | None,
        _about(
            "A folder for the last good health, which is loaded if Redis is unavailable at the "
            "start, and for a cache of `autorouter simulate`."
        ),
    ] = None
    trusted_proxies: Annotated[
        Cidrs, _about("CIDR blocks of the proxies whose X-Forwarded-For is used, comma-separated.")
    ] = Cidrs()
    cdn_secret: Annotated[
        Secrets,
        _about(
            "CDN headers are used only if X-Origin-Verify has this value. "
            "During a rotation, two values, comma-separated."
        ),
    ] = Secrets()
    cache_key_headers: Annotated[
        Names,
        _about("The CloudFront-Viewer-* headers in the CDN's cache key, comma-separated."),
    ] = Names()
    vantage: Annotated[
        str,
        _about("The name of this poller.", pattern="^[a-z0-9][a-z0-9-]{0,62}$"),
    ] = "local"
    ttl_s: Annotated[
        int,
        _about("How long an SDK may keep a pick while `status` is `ok`.", unit="s", ge=1, le=86400),
    ] = 300
    degraded_ttl_s: Annotated[
        int,
        _about(
            "How long an SDK may keep a pick while `status` is not `ok`.", unit="s", ge=1, le=86400
        ),
    ] = 30
    cdn_max_age_s: Annotated[
        int, _about("How long a shared cache may keep a keyed answer.", unit="s", ge=0, le=3600)
    ] = 10
    purge: Annotated[
        PurgeSpecs,
        _about(
            "CDNs to purge when an edge changes: varnish:URL, cloudfront:ID, fastly:ID, "
            "cloudflare:ID, comma-separated; or none."
        ),
    ] = PurgeSpecs()
    fastly_token: Annotated[
        Secret | None, _about("An API token that may purge, for fastly in AUTOROUTER_PURGE.")
    ] = None
    cloudflare_token: Annotated[
        Secret | None, _about("An API token that may purge, for cloudflare in AUTOROUTER_PURGE.")
    ] = None
    poll_interval_s: Annotated[
        float, _about("The time between two probes of a healthy edge.", unit="s", ge=0.1, le=10)
    ] = 3.0
    witnesses: Annotated[
        Urls,
        _about(
            "URLs outside your network that a poller checks, comma-separated. "
            "If most of them fail, the poller is isolated and its results are not used."
        ),
    ] = Urls()
    edge_api_key: Annotated[
        Secret | None, _about("The bearer key for the model inventory of edges that require one.")
    ] = None
    log_level: Annotated[
        typing.Literal["debug", "info", "warning", "error"],
        _about("The lowest level that is logged."),
    ] = "info"
    log_requests: Annotated[
        Share,
        _about("The share of requests to the public listener that is logged."),
    ] = Share(0.0)
    log_format: Annotated[
        typing.Literal["auto", "json", "text"],
        _about("The format of log lines; auto is text on a terminal, otherwise JSON."),
    ] = "auto"


class SettingDescription(NamedTuple):
    """One setting for people to read."""

    variable: str
    accepts: str
    unit: str
    default: str
    about: str
    is_secret: bool


def load_settings(environ: Mapping[str, str]) -> Settings:
    """Settings from the environment. Raises ConfigError with a line for every fault."""
    settings, faults = read_settings(environ)
    if faults:
        raise ConfigError(faults)
    return settings


def read_settings(environ: Mapping[str, str]) -> tuple[Settings, list[str]]:
    """Settings with the default in place of each faulty value, and a line for every fault."""
    values: dict[str, Any] = {}
    faults: list[str] = []
    for name, kind in _kinds():
        variable = PREFIX + name.upper()
        try:
            text = _text(variable, kind, environ)
            if text is not None:
                values[name] = _parse(text, kind)
        except ValueError as error:
            faults.append(f"{variable}: {error}")
    settings = Settings(**values)
    return settings, faults + _missing_settings(settings, faults)


def with_secrets(settings: Settings, environ: Mapping[str, str]) -> Settings:
    """The settings with the secrets in files read again. Raises ConfigError with every fault."""
    fresh = load_settings(environ)
    secrets = {name: getattr(fresh, name) for name, kind in _kinds() if _is_secret(kind)}
    return msgspec.structs.replace(settings, **secrets)


def secret_paths(environ: Mapping[str, str]) -> list[Path]:
    """The files that secrets come from."""
    variables = [f"{PREFIX}{name.upper()}_FILE" for name, kind in _kinds() if _is_secret(kind)]
    return [Path(environ[each].strip()) for each in variables if environ.get(each, "").strip()]


def _missing_settings(settings: Settings, faults: Sequence[str]) -> list[str]:
    """A line for each secret that another setting needs, unless it is faulty itself."""
    wanted = {spec.kind for spec in settings.purge}
    lines = []
    for kind, token in (
        ("fastly", settings.fastly_token),
        ("cloudflare", settings.cloudflare_token),
    ):
        variable = f"{PREFIX}{kind.upper()}_TOKEN"
        is_reported = any(fault.startswith(f"{variable}:") for fault in faults)
        if kind in wanted and token is None and not is_reported:
            lines.append(f"{variable}: is needed to purge {kind}, see {PREFIX}PURGE")
    return lines


def unknown_settings(environ: Mapping[str, str]) -> list[str]:
    """A line for each unknown AUTOROUTER_ variable. This is no fault, because Kubernetes sets such
    names for a Service called autorouter.
    """
    known = {PREFIX + name.upper() for name, _ in _kinds()}
    known |= {f"{PREFIX}{name.upper()}_FILE" for name, kind in _kinds() if _is_secret(kind)}
    lines = []
    for variable in sorted(set(environ) - known):
        if variable.startswith(PREFIX):
            close = difflib.get_close_matches(variable, known, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            lines.append(f"{variable}: is an unknown setting and is ignored{hint}")
    return lines


def describe_settings() -> list[SettingDescription]:
    """Every setting, in the order of the class."""
    defaults = {each.name: each.default for each in msgspec.structs.fields(Settings)}
    return [_describe(name, kind, defaults[name]) for name, kind in _kinds()]


def _kinds() -> Iterator[tuple[str, Any]]:
    yield from typing.get_type_hints(Settings, include_extras=True).items()


def _inner_type(kind: Any) -> type:
    """The type without Annotated and `| None`."""
    inner = typing.get_args(kind)[0]
    options = [option for option in typing.get_args(inner) if option is not type(None)]
    is_optional = type(None) in typing.get_args(inner)
    bare: type = options[0] if is_optional else inner
    return bare


def _is_secret(kind: Any) -> bool:
    bare = _inner_type(kind)
    return isinstance(bare, type) and issubclass(bare, Secret | Secrets)


def _text(variable: str, kind: Any, environ: Mapping[str, str]) -> str | None:
    """The raw value; for a secret, possibly from the file that `…_FILE` names."""
    text = environ.get(variable, "").strip()
    path = environ.get(f"{variable}_FILE", "").strip() if _is_secret(kind) else ""
    if text and path:
        raise ValueError(f"is set twice, also as {variable}_FILE; unset one of them")
    if path:
        try:
            with Path(path).open(encoding="utf-8") as file:
                text = file.read(MAX_SECRET_FILE_LENGTH + 1).strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"cannot read the file of {variable}_FILE: {error}") from error
        if not text:
            raise ValueError(f"the file of {variable}_FILE is empty")
        if len(text) > MAX_SECRET_FILE_LENGTH:
            raise ValueError(f"the file of {variable}_FILE is too long to be a secret")
    return text or None


def _parse(text: str, kind: Any) -> Any:
    bare = _inner_type(kind)
    if bare is Path:
        return parse_path(text)
    if hasattr(bare, "parse"):
        return bare.parse(text)
    try:
        return msgspec.convert(text, kind, strict=False)
    except msgspec.ValidationError:
        accepts = _accepts(bare, typing.get_args(kind)[1])
        raise ValueError(f"{text[:80]!r} is not accepted; use {accepts}") from None


def _describe(name: str, kind: Any, default: Any) -> SettingDescription:
    meta = typing.get_args(kind)[1]
    return SettingDescription(
        variable=PREFIX + name.upper(),
        accepts=_accepts(_inner_type(kind), meta),
        unit=meta.extra["unit"],
        default=_shown(default),
        about=meta.description,
        is_secret=_is_secret(kind),
    )


def _accepts(bare: Any, meta: Meta) -> str:
    if typing.get_origin(bare) is typing.Literal:
        return ", ".join(typing.get_args(bare))
    if meta.ge is not None:
        return f"{meta.ge:g} to {meta.le:g}"
    if meta.pattern is not None:
        return "up to 63 lower-case letters, digits and hyphens"
    accepted: str = "a path" if bare is Path else getattr(bare, "accepts", "text")
    return accepted


def _shown(default: Any) -> str:
    if isinstance(default, tuple):
        return ",".join(default)
    return "" if default is None else str(default)
