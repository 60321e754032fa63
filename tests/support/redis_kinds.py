"""Real redis-servers on loopback: Sentinel, Cluster and TLS."""

import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis

from tests.support.servers import HOST, PATIENCE_S, Process, free_port, wait_until

SERVICE = "routing"
SLOTS = 16_384


class Node:
    """One redis-server with its own configuration lines."""

    def __init__(
        self, folder: Path, *lines: str, sentinel: bool = False, tls: bool = False
    ) -> None:
        self.port = free_port()
        self._folder = folder / f"redis-{self.port}"
        self._folder.mkdir()
        ports = ("port 0", f"tls-port {self.port}") if tls else (f"port {self.port}",)
        config = self._folder / "redis.conf"
        config.write_text("\n".join([*ports, f"bind {HOST}", f"dir {self._folder}", *lines]))
        self._command = ["redis-server", str(config), *(["--sentinel"] if sentinel else [])]
        self._ready = "Sentinel ID is" if sentinel else "Ready to accept connections"
        self.start()

    def start(self) -> None:
        """Start it, or restart it with its saved data."""
        self.process = Process(self._command, self._folder / "redis.log")
        self.process.wait_for(lambda: self._ready in self.process.output)

    def kill(self) -> None:
        if self.process.is_alive():
            self.process.kill()

    def pause(self) -> None:
        """Hang: connections are accepted, commands get no reply."""
        self.process.send(signal.SIGSTOP)

    def resume(self) -> None:
        self.process.send(signal.SIGCONT)

    def is_so(self, condition: Callable[[Any], bool]) -> bool:
        """Whether the condition holds for a client of this node."""
        with redis.Redis(port=self.port) as client:
            return condition(client)

    def until(self, condition: Callable[[Any], bool]) -> None:
        """Wait until the condition holds for a client of this node."""
        wait_until(lambda: self.is_so(condition))


@contextmanager
def running() -> Iterator[list[Node]]:
    """A list for nodes. All nodes in it are killed at the end."""
    nodes: list[Node] = []
    try:
        yield nodes
    finally:
        for node in nodes:
            node.kill()


@contextmanager
def watched(folder: Path, sentinels: int) -> Iterator[list[Node]]:
    """A primary, its replica, and Sentinels that see each other, in this order."""
    with running() as nodes:
        primary = Node(folder, 'save ""', "repl-diskless-sync-delay 0")
        nodes.append(primary)
        nodes.append(Node(folder, 'save ""', f"replicaof {HOST} {primary.port}"))
        primary.until(lambda client: client.info("replication")["connected_slaves"] == 1)
        nodes += [a_sentinel(folder, primary, quorum=sentinels // 2 + 1) for _ in range(sentinels)]
        for sentinel in nodes[2:]:
            sentinel.until(lambda client: _knows_all(client, sentinels))
        yield nodes


def a_sentinel(folder: Path, primary: Node, quorum: int, *lines: str) -> Node:
    return Node(
        folder,
        f"sentinel monitor {SERVICE} {HOST} {primary.port} {quorum}",
        f"sentinel down-after-milliseconds {SERVICE} 500",
        f"sentinel failover-timeout {SERVICE} 3000",
        *lines,
        sentinel=True,
    )


def _knows_all(client: Any, sentinels: int) -> bool:
    """Whether a Sentinel sees the replica and the other Sentinels."""
    state = client.sentinel_masters()[SERVICE]
    return (state["num-slaves"], state["num-other-sentinels"]) == (1, sentinels - 1)


@contextmanager
def cluster(folder: Path) -> Iterator[list[Node]]:
    """A Cluster of three primaries."""
    with running() as nodes:
        for _ in range(3):
            bus = free_port()
            lines = ("cluster-enabled yes", f"cluster-port {bus}", "cluster-node-timeout 1000")
            nodes.append(Node(folder, 'save ""', *lines))
        addresses = [f"{HOST}:{node.port}" for node in nodes]
        subprocess.run(
            ["redis-cli", "--cluster", "create", *addresses, "--cluster-yes"],
            check=True,
            capture_output=True,
            timeout=PATIENCE_S,
        )
        for node in nodes:
            node.until(_has_all_slots)
        yield nodes


def _has_all_slots(client: Any) -> bool:
    info = client.cluster("info")
    return info["cluster_state"] == "ok" and int(info["cluster_slots_ok"]) == SLOTS


class Certificates:
    """A certificate authority, and certificates that it signed: for a server on loopback, for
    a client, and for a server with another name."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.ca, ca_key = folder / "ca.crt", folder / "ca.key"
        self._openssl("req", "-x509", *_new_key(ca_key), "-subj", "/CN=ca", "-out", str(self.ca))
        self.server, self.server_key = self._signed("server", f"IP:{HOST}")
        self.client, self.client_key = self._signed("client", "DNS:client")
        self.elsewhere, self.elsewhere_key = self._signed("elsewhere", "DNS:elsewhere.example")

    def _signed(self, name: str, subject: str) -> tuple[Path, Path]:
        certificate, key = self._folder / f"{name}.crt", self._folder / f"{name}.key"
        extensions = self._folder / f"{name}.ext"
        extensions.write_text(f"subjectAltName={subject}")
        request = self._folder / f"{name}.csr"
        self._openssl("req", *_new_key(key), "-subj", f"/CN={name}", "-out", str(request))
        self._openssl(
            *("x509", "-req", "-in", str(request), "-out", str(certificate)),
            *("-CA", str(self.ca), "-CAkey", str(self.ca.with_suffix(".key"))),
            *("-extfile", str(extensions), "-CAcreateserial"),
        )
        return certificate, key

    def _openssl(self, *words: str) -> None:
        subprocess.run(["openssl", *words], check=True, capture_output=True, cwd=self._folder)


def _new_key(path: Path) -> tuple[str, ...]:
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")
    return (*curve, "-noenc", "-keyout", str(path))
