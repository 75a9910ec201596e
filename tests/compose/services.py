"""The Compose project of the check, as podman-compose and podman see it, and ways to wait for what happens in it."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer

REPOSITORY = Path(__file__).resolve().parents[2]
PROJECT = "sidestep-check"
PATIENCE_SECONDS = 900.0
logging.getLogger("watchdog").addHandler(logging.NullHandler())  # it complains of events that come while it stops


def podman(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["podman", *arguments], capture_output=True, text=True, check=False)


class Services:
    """The Compose project, through podman-compose with the CPU override."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = os.environ | environment | {"COMPOSE_PROJECT_NAME": PROJECT}
        self.stopped: set[str] = set()

    def compose(self, *arguments: str, check: bool = True) -> str:
        files = ["-f", "docker-compose.yml", "-f", "docker-compose.cpu.yml"]
        command = [str(Path(sys.executable).with_name("podman-compose")), *files, *arguments]
        done = subprocess.run(
            command, cwd=REPOSITORY, env=self.environment, capture_output=True, text=True, check=False
        )
        if check and done.returncode != 0:
            raise SystemExit(f"error: {' '.join(command)} ended with {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout + done.stderr

    def run(self, *command: str) -> str:
        """The rerun service to its end, or another command in its place; returns what it said."""
        return self.compose("--profile", "rerun", "run", "--rm", "-T", "rerun", *command, check=not command)

    def down(self) -> None:
        self.compose("--profile", "rerun", "down", check=False)

    def container(self, service: str) -> str:
        labels = [
            f"label=com.docker.compose.{key}={value}" for key, value in (("project", PROJECT), ("service", service))
        ]
        names = podman(
            "ps", "-a", "--filter", labels[0], "--filter", labels[1], "--format", "{{.Names}}"
        ).stdout.split()
        if len(names) != 1:
            raise SystemExit(f"error: {len(names)} containers of service {service}: {podman('ps', '-a').stdout}")
        return names[0]

    def inside(self, service: str, *command: str) -> subprocess.CompletedProcess[str]:
        return podman("exec", self.container(service), *command)

    def logs(self, service: str) -> str:
        done = podman("logs", self.container(service))
        return done.stdout + done.stderr

    def exit_code(self, service: str) -> int:
        return int(podman("inspect", "--format", "{{.State.ExitCode}}", self.container(service)).stdout)

    def require_trainer(self) -> None:
        """End the check when training has failed: nothing would come any more."""
        if "trainer" not in self.stopped and self.exit_code("trainer") != 0:
            raise SystemExit(f"error: training failed\n{self.logs('trainer')}")

    def stop(self, service: str) -> float:
        """Stop with the service's own grace period; returns the seconds it took."""
        self.stopped.add(service)
        began = time.monotonic()
        self.compose("stop", service)
        return time.monotonic() - began


def wait_until(condition: Callable[[], bool], services: Services, what: str) -> None:
    """Return when ``condition`` holds; asked at every change of the shared folder, and every second without one."""
    changed = threading.Event()

    class Handler(FileSystemEventHandler):
        def on_any_event(self, event: FileSystemEvent) -> None:
            if event.event_type in ("created", "modified", "moved"):  # not what our own reading causes
                changed.set()

    observer = Observer()
    observer.schedule(Handler(), services.environment["EXPERT_DIR"], recursive=True)
    observer.start()
    deadline = time.monotonic() + PATIENCE_SECONDS
    try:
        while not condition():
            if time.monotonic() > deadline:
                raise SystemExit(f"error: waited {PATIENCE_SECONDS:.0f} s in vain for {what}")
            if not changed.wait(1.0):
                services.require_trainer()
            changed.clear()
    finally:
        observer.stop()
        observer.join()


def wait_for_line(container: str, text: str) -> None:
    """Return when the container has logged ``text``."""
    follower = subprocess.Popen(
        ["podman", "logs", "--follow", container], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert follower.stdout is not None
    timer = threading.Timer(PATIENCE_SECONDS, follower.kill)
    timer.start()
    try:
        if not any(text in line for line in follower.stdout):
            raise SystemExit(f"error: {container} never said {text!r}:\n{podman('logs', container).stdout[-2000:]}")
    finally:
        timer.cancel()
        follower.kill()
        follower.wait()
