"""Runs the services of docker-compose.yml on CPU and checks what they did. check.sh builds the image and calls this.

1. Trainer and evaluator as uid 1000: confinement, a stop in the middle of an evaluation, a start that goes on from
   there, a report for every checkpoint.
2. The profile `rerun` over the same checkpoints.
3. The trainer as root, stopped in the middle of training, and the evaluator as uid 1000.

Every check prints one line; the exit status is 0 when all passed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from services import REPOSITORY, Services, podman, wait_for_line, wait_until

STEPS = (2, 4, 6)
SHORT_STEPS = "--set batch_size=2 --set logging_steps=1 --set max_seq_length=512"
UID = 1000
KILLED = 128 + 9  # exit code of a service that is still there at the end of its grace period


def print_title(title: str) -> None:
    print(f"\n== {title}", flush=True)


def show(title: str, text: str, last: int = 20) -> None:
    lines = text.strip().splitlines()
    print(f"-- {title}" + (f" (last {last} of {len(lines)} lines)" if len(lines) > last else ""))
    print("\n".join(f"   {line}" for line in lines[-last:]), flush=True)


@dataclass
class Checks:
    """What was found, one line per check."""

    failed: list[str] = field(default_factory=list)
    passed: int = 0

    def expect(self, what: str, found: object, wanted: object = True) -> None:
        good = found == wanted
        print(f"{'PASS' if good else 'FAIL'}  {what}" + ("" if good else f": {found!r}, not {wanted!r}"), flush=True)
        if good:
            self.passed += 1
        else:
            self.failed.append(what)


@dataclass(frozen=True)
class Expert:
    """A copy of the example expert, on the folder that both services share."""

    root: Path

    @property
    def reports(self) -> Path:
        return self.root / "weights" / "training_reports"

    def create(self, cases: int, owner: int) -> None:
        """``cases`` test cases, the example's as often as needed. The weights folder is not there yet."""
        shutil.rmtree(self.root, ignore_errors=True)
        shutil.copytree(REPOSITORY / "examples" / "shop", self.root)
        path = self.root / "tests" / "test_cases.json"
        suite = json.loads(path.read_text())
        known = suite["test_cases"]
        suite["test_cases"] = [
            known[number % len(known)] | {"id": f"{known[number % len(known)]['id']}.{number // len(known)}"}
            for number in range(cases)
        ]
        path.write_text(json.dumps(suite))
        for path in (self.root, *self.root.rglob("*")):
            os.chown(path, owner, owner)

    def report(self, name: str) -> dict[str, Any]:
        report: dict[str, Any] = json.loads((self.reports / name / "report.json").read_text())
        return report

    def has_reports(self, names: list[str]) -> bool:
        return all((self.reports / name / "report.json").is_file() for name in names)

    def kept_cases(self) -> dict[str, dict[str, Any]]:
        """Finished cases of evaluations that are not committed yet."""
        lines = [
            line for path in self.reports.glob(".attempts/*/cases-*.jsonl") for line in path.read_bytes().splitlines()
        ]
        cases = {}
        for line in lines:
            try:
                case = json.loads(line)
            except ValueError:  # its writer is not done with it
                continue
            cases[case["id"]] = case
        return cases

    def evaluating(self) -> tuple[str, int]:
        """Which checkpoint is being evaluated, and how many of its cases are finished."""
        for path in self.reports.glob(".evaluators/*.json"):
            present = json.loads(path.read_text())
            if present["state"] == "evaluating":
                return present["checkpoint"], present["cases_done"]
        return "", 0

    def claims_held(self) -> int:
        """How many evaluations somebody holds the lock of."""
        locks = self.reports.glob(".claims/*.lock")
        return sum(1 for lock in locks if subprocess.run(["flock", "--nonblock", str(lock), "true"]).returncode != 0)

    def held(self) -> list[str]:
        """Checkpoints that the outbox still holds, whether or not they were rotated away."""
        return sorted(f"checkpoint-{path.name.split('-')[0]}" for path in self.root.glob("weights/*/.outbox/[0-9]*"))

    def checkpoints_on_disk(self) -> list[str]:
        return sorted(path.parent.name for path in self.root.glob("weights/*/checkpoint-*/READY.json"))


def check_confinement(services: Services, checks: Checks) -> None:
    container = services.container("evaluator")
    show("podman top", podman("top", container, "user", "pid", "ppid", "capeff", "args").stdout)
    status = dict(
        line.split(":\t", 1) for line in services.inside("evaluator", "cat", "/proc/self/status").stdout.splitlines()
    )
    print(f"   id: {services.inside('evaluator', 'id').stdout.strip()}")
    checks.expect("the evaluator runs as uid 1000", services.inside("evaluator", "id", "-u").stdout.strip(), str(UID))
    checks.expect("it has no capabilities", int(status["CapEff"], 16) | int(status["CapBnd"], 16), 0)
    checks.expect("it cannot gain privileges", status["NoNewPrivs"].strip(), "1")
    interfaces = services.inside("evaluator", "ls", "/sys/class/net").stdout.split()
    checks.expect("it has no network", [name for name in interfaces if name != "lo"], [])
    for path in ("/expert", "/expert/weights", "/models/base", "/opt/sidestep"):
        touched = services.inside("evaluator", "touch", f"{path}/.touched")
        print(f"   {touched.stderr.strip()}")
        checks.expect(f"it cannot write to {path}", "Read-only file system" in touched.stderr)
    touched = services.inside("evaluator", "sh", "-c", "cd weights/training_reports && touch .touched && rm .touched")
    checks.expect("it can write reports", touched.returncode, 0)


def check_stop_in_the_middle(services: Services, expert: Expert, cases: int, checks: Checks) -> None:
    """Stop the evaluator when some but not all cases of a checkpoint are finished, then start it again."""

    def is_in_the_middle() -> bool:
        label, done = expert.evaluating()
        return label.startswith("checkpoint-") and 0 < done < cases

    wait_until(is_in_the_middle, services, "the first finished cases of a checkpoint")
    label, done = expert.evaluating()
    print(f"   stopping when {done} of {cases} cases of {label} are finished")
    held = expert.claims_held()
    seconds = services.stop("evaluator")
    kept = expert.kept_cases()
    show("evaluator", services.logs("evaluator"), last=6)
    print(
        f"   stopped in {seconds:.1f} s, exit code {services.exit_code('evaluator')}; {len(kept)} of {cases} cases kept"
    )
    checks.expect("the evaluation was claimed when the stop came", held, 1)
    checks.expect("stop ends the evaluator before it is killed", services.exit_code("evaluator") != KILLED)
    checks.expect("stop is not a failure", services.exit_code("evaluator"), 0)
    checks.expect("stop came in the middle of an evaluation, and its finished cases are kept", 0 < len(kept) < cases)
    checks.expect("the claim is released", expert.claims_held(), 0)
    services.compose("start", "evaluator")
    wait_until(lambda: expert.has_reports([label]), services, f"the report of {label}")
    # The seconds that a case took would not come out the same if it was run again.
    seconds_of = {case["id"]: case["seconds"] for case in expert.report(label)["test_cases"]}
    again = [name for name, case in kept.items() if case["seconds"] != seconds_of[name]]
    checks.expect("after the start no finished case is run again", again, [])
    checks.expect("the others are", len(seconds_of), cases)


def train_and_evaluate(services: Services, expert: Expert, cases: int, checks: Checks) -> None:
    print_title(f"trainer and evaluator as uid {UID}, the weights read-only for the evaluator")
    expert.create(cases, owner=UID)
    services.compose("up", "--detach", "--no-build")
    check_confinement(services, checks)
    print_title("stop in the middle of an evaluation")
    check_stop_in_the_middle(services, expert, cases, checks)
    print_title("every checkpoint has its report")
    podman("wait", services.container("trainer"))
    checks.expect("training succeeds", services.exit_code("trainer"), 0)
    names = ["base", *(f"checkpoint-{step}" for step in STEPS)]
    wait_until(lambda: expert.has_reports(names), services, "the base model's report")
    for name in names:
        results = expert.report(name)["test_results"]
        print(f"   {name}: {results}")
        checks.expect(f"{name} has its report, with all cases", results["total"], cases)
    owners = {path.stat().st_uid for path in expert.reports.rglob("*")}
    checks.expect("all reports belong to the evaluator's user", owners, {UID})
    print(f"   checkpoints on disk at the end: {', '.join(expert.checkpoints_on_disk())} (the rest was rotated away)")
    health = podman("healthcheck", "run", services.container("evaluator"))
    checks.expect("the health check passes", health.returncode, 0)
    show("trainer", services.logs("trainer"), last=14)
    show("evaluator", services.logs("evaluator"), last=24)
    show(
        "shared volume",
        podman(
            "run",
            "--rm",
            "-v",
            f"{expert.root}:/e",
            "-w",
            "/e/weights",
            services.environment["SIDESTEP_IMAGE"],
            "find",
            "training_reports",
            "-not",
            "-path",
            "*/.*",
            "-type",
            "f",
            "-printf",
            "%M %u %s %p\\n",
        ).stdout,
        last=40,
    )
    services.down()


def rerun(services: Services, expert: Expert, checks: Checks) -> None:
    print_title("profile rerun")
    available = sorted({*expert.checkpoints_on_disk(), *expert.held()})
    print(f"   on disk: {expert.checkpoints_on_disk()}, held in the outbox: {expert.held()}")
    before = {name: expert.report(name)["timestamp"] for name in available}
    unhealthy = services.run("sidestep-evaluator", "health", "/expert")
    checks.expect("the health check fails where no evaluator runs", "no evaluator is alive here" in unhealthy)
    show("rerun", services.run(), last=16)
    again = [name for name in available if expert.report(name)["timestamp"] != before[name]]
    checks.expect("every checkpoint that is still there was evaluated again", again, available)
    archived = sorted(path.name for path in expert.reports.glob("archive/*/*/checkpoint-*"))
    checks.expect("the old reports are in the archive", archived, available)
    services.down()


def trainer_as_root(services: Services, expert: Expert, cases: int, checks: Checks) -> None:
    print_title(f"trainer as root, stopped in the middle of training; evaluator as uid {UID}")
    expert.create(cases, owner=0)
    services.environment |= {
        "SIDESTEP_TRAINER_UID": "0",
        "TRAINER_OPTIONS": f"--max-steps 1000 --save-steps 1000 {SHORT_STEPS}",
    }
    services.compose("up", "--detach", "--no-build")
    wait_for_line(services.container("trainer"), "step 2")
    checks.expect("the trainer runs as uid 0", services.inside("trainer", "id", "-u").stdout.strip(), "0")
    seconds = services.stop("trainer")
    print(f"   stopped in {seconds:.1f} s, exit code {services.exit_code('trainer')}")
    checks.expect("stop ends the trainer before it is killed", services.exit_code("trainer") != KILLED)
    checks.expect("a training that was cut short says so in its exit code", services.exit_code("trainer"), 1)
    names = expert.checkpoints_on_disk()
    checks.expect("stop saved and published a checkpoint", len(names), 1)
    wait_until(lambda: expert.has_reports(names), services, "the report of the checkpoint saved at the stop")
    checks.expect("uid 1000 evaluated root's checkpoint", expert.report(names[0])["test_results"]["total"], cases)
    show("trainer", services.logs("trainer"), last=6)
    services.stop("evaluator")
    checks.expect("the evaluator ends without failure here, too", services.exit_code("evaluator"), 0)
    services.down()


def tiny_model(folder: Path) -> Path:
    sys.path.insert(0, str(REPOSITORY))
    from tests.fakes.tiny_model import build_tiny_model

    build_tiny_model(folder, hidden_size=128)
    for path in folder.iterdir():
        path.chmod(0o644)  # safetensors writes for the owner alone
    return folder


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--image", required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--model", required=True, help="folder of the base model, or tiny")
    arguments = parser.parse_args()
    tiny = arguments.model == "tiny"
    model = tiny_model(arguments.work / "tiny-model") if tiny else Path(arguments.model).resolve()
    cases = 96 if tiny else 24  # enough for a stop to meet an evaluation in the middle
    expert = Expert(arguments.work / "expert")
    services = Services(
        {
            "SIDESTEP_IMAGE": arguments.image,
            "EXPERT_DIR": str(expert.root),
            "BASE_MODEL_DIR": str(model),
            "TRAINER_OPTIONS": f"--max-steps {STEPS[-1]} --save-steps {STEPS[0]} {SHORT_STEPS}",
        }
    )
    checks = Checks()
    services.down()
    try:
        train_and_evaluate(services, expert, cases, checks)
        rerun(services, expert, checks)
        trainer_as_root(services, expert, cases, checks)
    finally:
        services.down()
    print_title(f"{checks.passed} checks passed, {len(checks.failed)} failed")
    for what in checks.failed:
        print(f"FAIL  {what}")
    sys.exit(1 if checks.failed else 0)


if __name__ == "__main__":
    main()
