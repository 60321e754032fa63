"""TLS for one edge, with a valid and an expired certificate."""

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.support.servers import HOST

_KEY = "-nodes -newkey ec -pkeyopt ec_paramgen_curve:prime256v1"


@dataclass
class TlsProxy:
    """A TLS proxy in front of a plain HTTP edge."""

    folder: Path
    tls: ssl.SSLContext
    edge_port: int
    port: int = 0

    @property
    def endpoint(self) -> str:
        return f"https://{HOST}:{self.port}"

    @classmethod
    @asynccontextmanager
    async def open(cls, folder: Path, edge_port: int) -> AsyncIterator[Self]:
        """A running proxy with the valid certificate."""
        _issue(folder)
        door = cls(folder, ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), edge_port)
        door.show("valid")
        server = await asyncio.start_server(door._relay, HOST, 0, ssl=door.tls)
        door.port = server.sockets[0].getsockname()[1]
        yield door
        server.close()

    def show(self, name: str) -> None:
        """Use the `valid` or the `expired` certificate from now on."""
        self.tls.load_cert_chain(self.folder / f"{name}.pem", self.folder / "edge.key")

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            said = await reader.readuntil(b"\r\n\r\n")
            edge_reader, edge_writer = await asyncio.open_connection(HOST, self.edge_port)
            edge_writer.write(said.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
            writer.write(await edge_reader.read())
            edge_writer.close()
        writer.close()


def trusted_by(folder: Path) -> dict[str, str]:
    """Environment variables that make a process trust only this certificate authority."""
    return {"SSL_CERT_FILE": str(folder / "ca.pem")}


def _issue(folder: Path) -> None:
    _openssl(folder, f"req -x509 {_KEY} -days 2 -subj /CN=authority -keyout ca.key -out ca.pem")
    name = f"-subj /CN=edge -addext subjectAltName=IP:{HOST}"
    _openssl(folder, f"req -new {_KEY} {name} -keyout edge.key -out edge.csr")
    for file, days in (("valid", 1), ("expired", -1)):
        signed = "-CA ca.pem -CAkey ca.key -CAcreateserial -copy_extensions copy"
        _openssl(folder, f"x509 -req -in edge.csr {signed} -days {days} -out {file}.pem")


def _openssl(folder: Path, words: str) -> None:
    command = ["openssl", *words.split()]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=20)
