"""A name server on loopback. The test sets its answers and reads its counts."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import cast

import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

HOST = "127.0.0.1"
SERVFAIL, NXDOMAIN, REFUSED = dns.rcode.SERVFAIL, dns.rcode.NXDOMAIN, dns.rcode.REFUSED
HANG = "hang"

Answer = list[str] | dns.rcode.Rcode | str


@dataclass
class NameServer(asyncio.DatagramProtocol):
    """Answers with the addresses or error code in `names`. HANG means no reply.

    Other names get NXDOMAIN. `asked` counts queries by name. `is_dead` drops every query.
    """

    names: dict[str, Answer]
    ttl_s: int = 60
    is_dead: bool = False
    delay_s: float = 0.0
    asked: Counter[str] = field(default_factory=Counter)
    transport: asyncio.DatagramTransport | None = None

    @property
    def address(self) -> str:
        """The address and port, in the form that a resolver expects."""
        assert self.transport is not None
        return f"{HOST}:{self.transport.get_extra_info('sockname')[1]}"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        query = dns.message.from_wire(data)
        name = query.question[0].name.to_text(omit_final_dot=True)
        self.asked[name] += 1
        answer = self.names.get(name, NXDOMAIN)
        if self.is_dead or answer == HANG:
            return
        assert self.transport is not None
        reply, send = self._reply(query, answer).to_wire(), self.transport.sendto
        asyncio.get_running_loop().call_later(self.delay_s, send, reply, addr)

    def _reply(self, query: dns.message.Message, answer: Answer) -> dns.message.Message:
        reply = dns.message.make_response(query)
        question = query.question[0]
        if not isinstance(answer, list):
            assert isinstance(answer, dns.rcode.Rcode)
            reply.set_rcode(answer)
            return reply
        is_wanted_v6 = question.rdtype == dns.rdatatype.AAAA
        found = [address for address in answer if (":" in address) is is_wanted_v6]
        if found and question.rdtype in (dns.rdatatype.A, dns.rdatatype.AAAA):
            kind = dns.rdatatype.to_text(question.rdtype)
            reply.answer.append(dns.rrset.from_text(question.name, self.ttl_s, "IN", kind, *found))
        return reply


@asynccontextmanager
async def name_server(names: dict[str, Answer], ttl_s: int = 60) -> AsyncIterator[NameServer]:
    server = NameServer(names, ttl_s)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: server, local_addr=(HOST, 0))
    try:
        yield server
    finally:
        transport.close()
