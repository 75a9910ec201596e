"""The dashboard's server: what it gives, what it refuses, what it tells while reports come."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from sidestep.evaluator.reporting.commit import commit_report
from sidestep.evaluator.reporting.derived_files import refresh_derived_files
from sidestep.evaluator.serving.app import create_app
from sidestep.evaluator.serving.changes import Changes
from sidestep.evaluator.serving.server import Address, refresh_once, serve
from sidestep.shared.errors import ConfigError
from sidestep.shared.protocol.layout import ReportsFolder
from sidestep.shared.protocol.presence import PresenceFile
from tests.fakes.reports import PASS, make_report


@pytest.fixture
def reports(tmp_path: Path) -> ReportsFolder:
    folder = ReportsFolder(tmp_path / "training_reports")
    folder.root.mkdir()
    commit_report(folder, make_report(10, {"a": PASS}))
    refresh_derived_files(folder)
    (tmp_path / "secret.json").write_text('{"secret": true}')
    (folder.root / ("0" * 32 + ".json")).write_text('{"secret": true}')
    return folder


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """Asks in raw ASGI requests, so that no library tidies up a path or a host first."""

    def __init__(self, reports: ReportsFolder, **options: Any) -> None:
        self._app = create_app(reports, Changes(reports), **options)

    def get(self, path: str, *, host: str = "localhost:8321", method: str = "GET") -> Answer:
        scope: dict[str, Any] = {
            "type": "http", "http_version": "1.1", "method": method, "scheme": "http", "path": unquote(path),
            "raw_path": path.encode(), "query_string": b"", "root_path": "", "headers": [(b"host", host.encode())],
            "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 8321),
        }  # fmt: skip
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        asyncio.run(self._app(scope, receive, send))
        headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return Answer(sent[0]["status"], headers, b"".join(message.get("body", b"") for message in sent[1:]))


@pytest.fixture
def client(reports: ReportsFolder) -> Client:
    return Client(reports)


def test_the_page_and_its_data(client: Client) -> None:
    page = client.get("/")
    assert page.status == 200
    assert 'data-mode="live"' in page.body.decode()
    data = client.get("/api/page-data").json()
    key = data["segments"][0]["key"]
    assert client.get(f"/api/answers/{key}").status == 200


def test_headers_of_every_answer(client: Client) -> None:
    for path in ("/", "/api/page-data", "/nowhere"):
        headers = client.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "'unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"


CLIMBS = [
    "/../secret.json",
    "/..%2fsecret.json",
    "/%2e%2e/secret.json",
    "/%2e%2e%2fsecret.json",
    "/%252e%252e%252fsecret.json",
    "/..%5csecret.json",
    "/..\\secret.json",
    "/api/answers/..%2f..%2fsecret",
    "/api/answers/%2e%2e%2f" + "0" * 32,
    "/api/answers/..%252f" + "0" * 32,
    "/api/answers/..%5c" + "0" * 32,
    "/api/answers/../" + "0" * 32 + ".json",
    "/api/answers/%00",
    "/api/suites/..%2f..%2fsecret",
    "/api/suites/..%5c..%5csecret",
    "//etc/passwd",
    "/checkpoint-10/report.json",
    "/.dashboard/page_data.json",
    "/index.html",
]


@pytest.mark.parametrize("path", CLIMBS)
def test_no_path_leads_to_a_file(client: Client, path: str) -> None:
    answer = client.get(path)
    assert answer.status == 404
    assert b"secret" not in answer.body


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "", "[::1].evil"])
def test_foreign_hosts_are_refused(client: Client, host: str) -> None:
    answer = client.get("/api/page-data", host=host)
    assert answer.status == 400
    assert b"segments" not in answer.body


def test_named_hosts_are_welcome(reports: ReportsFolder) -> None:
    assert Client(reports, hosts=["gpu-box"]).get("/api/page-data", host="gpu-box:8321").status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_it_only_reads(client: Client, method: str) -> None:
    assert client.get("/api/page-data", method=method).status == 405


def test_events_tell_of_evaluators_and_reports(reports: ReportsFolder) -> None:
    async def follow() -> list[tuple[str, str]]:
        stream = Changes(reports, poll_seconds=0.01).events()
        seen = [await anext(stream)]
        PresenceFile(reports).update(state="evaluating", checkpoint="checkpoint-20", cases=4)
        seen.append(await anext(stream))
        commit_report(reports, make_report(20, {"a": PASS}))
        refresh_derived_files(reports)
        return [*seen, await anext(stream)]

    first, second, third = asyncio.run(asyncio.wait_for(follow(), 30))
    assert first == ("evaluators", "[]")
    assert json.loads(second[1])[0]["checkpoint"] == "checkpoint-20"
    assert third == ("reports", "")


def test_the_network_needs_a_name(reports: ReportsFolder) -> None:
    with pytest.raises(ConfigError, match="lets others reach"):
        serve(reports, Address(host="0.0.0.0"), lambda url: None)  # refused before anything listens


def test_a_folder_without_reports_gets_an_empty_page(tmp_path: Path) -> None:
    empty = ReportsFolder(tmp_path / "new")
    refresh_once(empty)
    assert Client(empty).get("/api/page-data").json()["segments"] == []
