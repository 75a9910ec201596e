"""An OpenAI-compatible endpoint on loopback that judges as it is told."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "sk-very-secret"


@dataclass
class FakeJudge:
    """What was asked, and the reply to each question: a status, and a text for the envelope or a whole body."""

    url: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    reply: Callable[[dict[str, Any]], tuple[int, str | bytes]] = lambda question: (200, says(True))
    released: threading.Event = field(default_factory=threading.Event)
    hangs: bool = False


def says(passed: bool, score: float | None = None, reason: str = "so it is") -> str:
    """A grade as it was asked for."""
    return json.dumps({"reason": reason, "pass": passed} | ({} if score is None else {"score": score}))


def envelope(content: str) -> bytes:
    return json.dumps({"choices": [{"message": {"role": "assistant", "content": content}}]}).encode()


@contextmanager
def judge_endpoint() -> Iterator[FakeJudge]:
    fake = FakeJudge()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            fake.asked.append({"path": self.path, **request})
            fake.keys.append(self.headers["Authorization"])
            if fake.hangs:
                fake.released.wait(30)
                return
            status, content = fake.reply(json.loads(request["messages"][1]["content"]))
            body = envelope(content) if isinstance(content, str) else content
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    fake.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield fake
    finally:
        fake.released.set()
        server.shutdown()
        server.server_close()
