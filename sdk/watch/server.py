# SPDX-License-Identifier: ISC
"""The web server of `lab watch`: the page, pictures as server-sent events, and what the page asks to be done.

It listens on 127.0.0.1. Every address begins with a random token, so that other users and other pages of the browser
cannot see or drive the lab; what is asked to be done must also come from the page itself (Host and Origin).
"""

import hmac
import json
import secrets
import threading
import time
from collections import deque
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Protocol

from sdk.lab.machine import LabError
from sdk.watch.picture import Picture, changes

PAGE = Path(__file__).parent / "page"
D3 = Path("/usr/share/javascript/d3/d3.min.js")  # Debian's libjs-d3
FILES = {  # what there is behind the token
    "": (PAGE / "page.html", "text/html; charset=utf-8"),
    "page.js": (PAGE / "page.js", "text/javascript; charset=utf-8"),
    "page.css": (PAGE / "page.css", "text/css; charset=utf-8"),
    "d3.js": (D3, "text/javascript; charset=utf-8"),
}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; frame-ancestors 'none'; base-uri 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
PICTURE_S = 0.3  # between pictures
KEEP_ALIVE_S = 10.0
ACTION_BYTES = 1000
SENTENCES = 30  # that a page which is opened is told of
PAGES = 16  # open at a time


class Watched(Protocol):
    def picture(self) -> Picture: ...

    def act(self, verb: str, *words: str) -> None: ...


class Watch:
    """What one lab's pages are told. run() takes pictures until the lab is gone."""

    def __init__(self, mesh: Watched):
        self.mesh = mesh
        self.begun_s = time.monotonic()
        self.sentences: deque[tuple[float, str]] = deque(maxlen=SENTENCES)
        self.picture: Picture = {}
        self.number = 0
        self.news = threading.Condition()
        self.hurry = threading.Event()
        self.is_over = False

    def start(self) -> None:
        """Run in a thread."""
        threading.Thread(target=self.run, daemon=True).start()

    def run(self) -> str:
        """Return why there are no more pictures."""
        try:
            while not self.is_over:
                self.tell(self.mesh.picture())
                self.hurry.wait(PICTURE_S)
                self.hurry.clear()
            return "ended"
        except LabError as error:
            return str(error)
        finally:
            self.end()

    def tell(self, picture: Picture) -> None:
        with self.news:
            at_s = round(time.monotonic() - self.begun_s, 1)
            self.sentences.extend((at_s, sentence) for sentence in changes(self.picture, picture))
            self.picture = picture
            self.number += 1
            self.news.notify_all()

    def end(self) -> None:
        with self.news:
            self.is_over = True
            self.hurry.set()
            self.news.notify_all()

    def after(self, number: int) -> tuple[int, str | None]:
        """Wait for a picture later than a number; return its number and JSON, None if there is none for a while."""
        with self.news:
            self.news.wait_for(lambda: self.number > number or self.is_over, KEEP_ALIVE_S)
            if self.number <= number:
                return number, None
            return self.number, json.dumps({**self.picture, "said": list(self.sentences)})

    def act(self, asked: bytes) -> str:
        """Do what a page asks, {"do": VERB, "what": [NAME...]}; return a sentence if it cannot be done."""
        try:
            wanted = json.loads(asked)
            verb, words = wanted["do"], wanted["what"]
            if not (isinstance(verb, str) and all(isinstance(word, str) for word in words)):
                raise TypeError
        except (ValueError, KeyError, TypeError, RecursionError):
            return 'not understood, expected {"do": VERB, "what": [NAME...]}'
        try:
            self.mesh.act(verb, *words)
        except LabError as error:
            return str(error)
        self.hurry.set()
        return ""


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, watch: Watch, port: int = 0):
        super().__init__(("127.0.0.1", port), Handler)
        self.watch = watch
        self.token = secrets.token_urlsafe(18)
        self.room = threading.Semaphore(PAGES)

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def address(self) -> str:
        return f"{self.origin}/{self.token}/"


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    timeout = 60  # for a request that does not come

    def log_message(self, format: str, *args: object) -> None:
        pass

    def place(self) -> str | None:
        """What is asked for behind the token; None if the token or the host is another one."""
        _, token, *rest = (*self.path.partition("?")[0].split("/", 2), "")
        is_ours = hmac.compare_digest(token.encode(), self.server.token.encode())
        host = self.headers.get("Host", "")
        return rest[0] if is_ours and f"http://{host}" == self.server.origin and len(rest) > 1 else None

    def answer(
        self, status: HTTPStatus, content: bytes = b"", kind: str = "text/plain; charset=utf-8"
    ) -> None:
        self.send_response(status)
        for name, value in {**HEADERS, "Content-Type": kind, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self) -> None:
        place = self.place()
        if place == "events":
            self.send_events()
        elif place in FILES:
            file, kind = FILES[place]
            self.answer(HTTPStatus.OK, file.read_bytes(), kind)
        else:
            self.answer(HTTPStatus.NOT_FOUND)

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        self.close_connection = True  # what is not read must not be the next request
        if self.place() != "act" or self.headers.get("Origin") != self.server.origin:
            self.answer(HTTPStatus.FORBIDDEN)
        elif not length.isdecimal() or int(length) > ACTION_BYTES:
            self.answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        else:
            sentence = self.server.watch.act(self.rfile.read(int(length)))
            self.answer(HTTPStatus.CONFLICT if sentence else HTTPStatus.OK, sentence.encode())

    def send_events(self) -> None:
        if not self.server.room.acquire(blocking=False):
            self.answer(HTTPStatus.SERVICE_UNAVAILABLE)
            return
        try:
            self.send_response(HTTPStatus.OK)
            for name, value in {
                **HEADERS,
                "Content-Type": "text/event-stream",
                "Connection": "close",
            }.items():
                self.send_header(name, value)
            self.end_headers()
            number = 0
            while not self.server.watch.is_over:
                number, text = self.server.watch.after(number)
                self.wfile.write(f"data: {text}\n\n".encode() if text else b": still here\n\n")
            self.wfile.write(b"event: over\ndata: the lab is down\n\n")
        except OSError:
            pass  # the page was closed
        finally:
            self.close_connection = True
            self.server.room.release()
