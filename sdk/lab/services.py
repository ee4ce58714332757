# SPDX-License-Identifier: ISC
"""The lab's IPv4-only internet: HTTP with any number of known bytes, and echo over TCP and UDP (RFC 862).

    GET /bytes/N    N bytes, the text PATTERN over and over
    GET /           a greeting

Usage: python -m sdk.lab.services ECHO_ADDRESS [WEB_ADDRESS]     prints "ready" when it listens; without web: echo alone
"""

import asyncio
import sys

PATTERN = bytes(range(256))
BLOCK = PATTERN * 1024
BYTES_MAX = 10**12
REQUEST_S = 30  # a client that says nothing for so long is sent away
ECHO_PORT = 7


async def serve_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), REQUEST_S)
        words = head.split(b"\r\n", 1)[0].split(b" ")
        path = words[1].decode("ascii", "replace") if len(words) == 3 else ""
        size = path.removeprefix("/bytes/")
        if path == "/":
            await answer(writer, "200 OK", b"This is the IPv4-only internet.\n")
        elif size.isdecimal() and int(size) <= BYTES_MAX:
            writer.write(header("200 OK", int(size)))
            for _ in range(int(size) // len(BLOCK)):
                writer.write(BLOCK)
                await writer.drain()
            writer.write(BLOCK[: int(size) % len(BLOCK)])
            await writer.drain()
        else:
            await answer(writer, "404 Not Found", b"There is /bytes/N.\n")
    except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError):
        pass  # the client went away, or never was one
    finally:
        writer.close()


def header(status: str, size: int) -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n".encode()


async def answer(writer: asyncio.StreamWriter, status: str, body: bytes) -> None:
    writer.write(header(status, len(body)) + body)
    await writer.drain()


async def echo_tcp(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while block := await reader.read(1 << 16):
            writer.write(block)
            await writer.drain()
    except OSError:
        pass  # reset by the client
    finally:
        writer.close()


class EchoUdp(asyncio.DatagramProtocol):
    def connection_made(self, transport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr) -> None:
        self.transport.sendto(data, addr)

    def error_received(self, exc: Exception) -> None:
        pass  # the client's port is closed by now


async def serve(echo: str, *web: str) -> None:
    loop = asyncio.get_running_loop()
    servers = [await asyncio.start_server(serve_http, each, 80, backlog=512) for each in web]
    servers.append(await asyncio.start_server(echo_tcp, echo, ECHO_PORT, backlog=512))
    await loop.create_datagram_endpoint(EchoUdp, (echo, ECHO_PORT))
    print("ready", flush=True)
    await asyncio.gather(*(server.serve_forever() for server in servers))


if __name__ == "__main__":
    asyncio.run(serve(*sys.argv[1:3]))
