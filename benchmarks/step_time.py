"""What evaluating costs the training beside it: step times with and without the evaluator, in turns (A B A B).

    python -m benchmarks.step_time [--quick] [--alternations 10] [--max-slowdown 0.02 0.1] [--beside leftover]

One training with steps of equal size runs all the time. In "B" the real worker evaluates one real checkpoint after
another; in "A" it is stopped (SIGSTOP). ``leftover`` is ``sidestep up --max-slowdown 0`` on a CPU: in the training's
session and in the idle class it never rests. ``duty-cycle`` is the same option for an evaluator started by hand: it
rests between decode steps, so as to use 1.5 % of one processor (more here: the time for which it is stopped counts as
rest). ``unlimited`` never rests, at the lowest weight of a session of its own. Before these the worker evaluates under
its governor for a while, as it does by default. Workers load their base model before training starts: beside a training
that fills the processor that takes minutes, and belongs to neither. Step times are those that the training leaves
(``shared.protocol.pace``).
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from benchmarks.results import Results, median, spread, table
from benchmarks.workload import MAX_NEW_TOKENS, ROOT, Workload, prepare_workload
from sidestep.evaluator.cases.exchange import Decoding
from sidestep.evaluator.settings import DEFAULT_ENGINE, EngineSettings
from sidestep.evaluator.sharing.slowdown import Step, estimate, slowdown_over
from sidestep.evaluator.suite.loading import load_suite
from sidestep.evaluator.working.messages import Assignment, CaseDone, Finished, Ready, Start
from sidestep.evaluator.working.worker_process import WorkerProcess
from sidestep.shared.launch.processes import NEW_GROUP
from sidestep.shared.protocol.checkpoint import describe_files
from sidestep.shared.protocol.layout import ModelFolder
from sidestep.shared.protocol.pace import read_pace

Window = tuple[str, float, float]  # what the worker did, from, to

# What training may lose, and whether the worker has a session of its own.
BESIDE: dict[str, tuple[float | None, bool]] = {
    "leftover": (0.0, False),
    "duty-cycle": (0.0, True),
    "unlimited": (None, True),
}
DESCRIPTIONS = {
    "leftover": "beside a worker that takes what is left over (`sidestep up --max-slowdown 0`), never resting",
    "duty-cycle": "beside a worker with a duty cycle (`sidestep-evaluator watch --max-slowdown 0`)",
    "unlimited": "beside a worker without a limit, never resting",
}


@dataclass
class Training:
    """The training process and all steps it has made."""

    process: subprocess.Popen[bytes]
    model: ModelFolder
    log: Path
    steps: dict[float, float] = field(default_factory=dict)  # begin -> end

    @classmethod
    def start(cls, base: Path, device: str, folder: Path) -> Training:
        """Start a training on the base model; what it writes goes into the folder."""
        environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
        model, log = ModelFolder(folder / "weights" / "model"), folder / "training.log"
        program = [sys.executable, "-m", "benchmarks.peers.steady_training"]
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*program, str(base), str(model.root), device],
                cwd=ROOT, env=environment | {"HF_HUB_OFFLINE": "1"}, stdout=output, stderr=output,
                **NEW_GROUP,
            )  # fmt: skip
        return cls(process, model, log)

    def poll(self) -> None:
        """Take the steps that were made meanwhile. Raises RuntimeError with the log when the training has ended."""
        if self.process.poll() is not None:
            raise RuntimeError(self.log.read_text()[-3000:])
        if pace := read_pace(self.model.pace):
            self.steps |= dict(pace.steps)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to all of its processes."""
        os.killpg(self.process.pid, number)

    def wait_for_steps(self, count: int) -> None:
        """Wait for the first ``count`` steps."""
        while len(self.steps) < count:
            time.sleep(1)
            self.poll()

    def end(self) -> None:
        """Kill it."""
        self.process.kill()
        self.process.wait()


class Evaluating:
    """The real worker, kept busy with one checkpoint after another."""

    def __init__(self, workload: Workload, worker: WorkerProcess) -> None:
        self._workload = workload
        self._suite = load_suite(workload.expert / "tests" / "test_cases.json")
        self._next = 0
        self.cases: list[float] = []  # when they were done, in seconds of the monotonic clock
        self.finished: list[Finished] = []
        self.worker = worker

    @classmethod
    def start(
        cls, workload: Workload, device: str, max_slowdown: float | None, *, own_session: bool = True
    ) -> Evaluating:
        """Start a worker and wait until it has loaded the base model. Raises RuntimeError when it dies."""
        worker = WorkerProcess.start(own_session=own_session)
        worker.send(Start(DEFAULT_ENGINE, EngineSettings(str(workload.base_model), device), max_slowdown=max_slowdown))
        evaluating = cls(workload, worker)
        evaluating._wait_ready()
        return evaluating

    def begin(self, training: Training) -> None:
        """Give it the first checkpoint."""
        self._training = training
        self._assign()

    def _wait_ready(self) -> None:
        while True:
            for event in self._events():
                if isinstance(event, Ready):
                    return
            time.sleep(0.2)

    def _events(self) -> list[object]:
        events = self.worker.receive()
        if events is None:
            raise RuntimeError(f"the worker died: {self.worker.exit_description()}")
        return list(events)

    def _assign(self) -> None:
        folder = self._workload.checkpoints[self._next % len(self._workload.checkpoints)]
        self._next += 1
        self.worker.send(
            Assignment(
                label=folder.name, sources=(folder,), files=describe_files(folder),
                suite_path=self._suite.source or Path(), suite_sha256=self._suite.sha256,
                decoding=Decoding(max_new_tokens=MAX_NEW_TOKENS), paces=(self._training.model.pace,),
            )
        )  # fmt: skip

    def run_for(self, seconds: float) -> None:
        """Keep it busy for so long."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for event in self._events():
                if isinstance(event, CaseDone):
                    self.cases.append(time.monotonic())
                elif isinstance(event, Finished):
                    self.finished.append(event)
                    self._assign()
            self._training.poll()
            time.sleep(0.2)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the worker."""
        os.kill(self.worker.pid, number)

    def processor_seconds(self) -> float:
        """Processor time that the worker has used so far."""
        used = psutil.Process(self.worker.pid).cpu_times()
        return float(used.user + used.system)


def alternate(training: Training, evaluating: Evaluating, alternations: int, seconds: float) -> list[Window]:
    """Stop the worker and let it go, in turns of so many seconds."""
    windows = []
    for _ in range(alternations):
        for kind, number in (("alone", signal.SIGSTOP), ("beside", signal.SIGCONT)):
            evaluating.signal(number)
            began = time.monotonic()
            evaluating.run_for(seconds)
            windows.append((kind, began, time.monotonic()))
    return windows


def steps_in(training: Training, window: Window) -> list[float]:
    """Lengths of the steps that lie wholly inside a window."""
    return [end - begin for begin, end in training.steps.items() if begin >= window[1] and end <= window[2]]


def describe_slowdown(training: Training, windows: list[Window]) -> str:
    """The effect of the worker, by the same estimate that the reports use."""
    steps = [
        Step(end - begin, float(kind == "beside"))
        for begin, end in sorted(training.steps.items())
        for kind, since, until in windows
        if begin >= since and end <= until
    ]
    cost = slowdown_over([step for step in steps if step.overlap], estimate(steps))
    if cost.slowdown is None or cost.low is None or cost.high is None:
        return "too few steps"
    return f"{cost.slowdown:+.1%} ({cost.low:+.1%} to {cost.high:+.1%})"


@dataclass
class Governed:
    """What came of a governed worker: its limit, the training's steps meanwhile, and cases per minute."""

    limit: float
    steps: list[float]  # seconds
    rate: float
    reported: str  # the slowdown, as the report says it


def govern(training: Training, governed: Evaluating, limit: float, seconds: float) -> Governed:
    """Evaluate under the governor for a while; only a training that runs for longer can pay for a whole evaluation."""
    governed.begin(training)
    began = time.monotonic()
    governed.run_for(seconds)
    window = ("governed", began, time.monotonic())
    governed.worker.kill()
    rate = 60 * len(governed.cases) / (window[2] - window[1])
    return Governed(limit, steps_in(training, window), rate, describe_reported_slowdown(governed))


@dataclass
class Beside:
    """What came of a worker that was let go and stopped in turns."""

    kind: str
    windows: list[Window]
    cases: int
    share: float  # of one processor, while it was not stopped
    finished: int  # evaluations

    @property
    def rate(self) -> float:
        """Cases per minute while it was not stopped."""
        return 60 * self.cases / sum(until - since for kind, since, until in self.windows if kind == "beside")


def evaluate_in_turns(training: Training, worker: Evaluating, kind: str, alternations: int, seconds: float) -> Beside:
    """Measure one of BESIDE."""
    used = worker.processor_seconds()
    worker.begin(training)
    windows = alternate(training, worker, alternations, seconds)
    share = (worker.processor_seconds() - used) / (alternations * seconds)
    worker.worker.kill()
    return Beside(kind, windows, len(worker.cases), share, len(worker.finished))


def run(arguments: argparse.Namespace) -> None:
    """Measure everything, then show it."""
    workload, results = prepare_workload(), Results("step_time", fresh=True)
    limited = [Evaluating.start(workload, arguments.device, limit) for limit in arguments.max_slowdown]
    free = {
        kind: Evaluating.start(workload, arguments.device, BESIDE[kind][0], own_session=BESIDE[kind][1])
        for kind in arguments.beside
    }
    with tempfile.TemporaryDirectory() as folder:
        training = Training.start(workload.base_model, arguments.device, Path(folder))
        try:
            training.wait_for_steps(5)
            began = time.monotonic()
            while time.monotonic() - began < arguments.lead_seconds:
                time.sleep(1)
                training.poll()
            lead = steps_in(training, ("alone", began, time.monotonic()))
            # Before the others: the governor takes the steps it finds for steps without an evaluator.
            governed = [
                govern(training, worker, limit, arguments.governed_seconds)
                for worker, limit in zip(limited, arguments.max_slowdown, strict=True)
            ]
            beside = [
                evaluate_in_turns(training, worker, kind, arguments.alternations, arguments.seconds)
                for kind, worker in free.items()
            ]
        finally:
            training.end()
    show(results, training, (lead, beside, governed), arguments)


def show(
    results: Results,
    training: Training,
    measured: tuple[list[float], list[Beside], list[Governed]],
    arguments: argparse.Namespace,
) -> None:
    """Print the table and keep what was measured."""
    lead, beside, governed = measured
    rows = [["training alone, before", spread(lead, 3), "1", "", ""]]
    for outcome in governed:
        name = f"beside a governed worker (`--max-slowdown {outcome.limit:g}`)"
        steps = outcome.steps
        mean = f"{sum(steps) / len(steps) / (sum(lead) / len(lead)):.3f}" if steps and lead else ""
        rows.append([name, spread(steps, 3), f"{mean} (means)", outcome.reported, f"{outcome.rate:.0f}"])
    for worker in beside:
        rows += _in_turns_rows(training, worker)
    results.add(
        lead=lead, governed=[vars(outcome) for outcome in governed], beside=[vars(worker) for worker in beside],
        steps=sorted(training.steps.items()),
    )  # fmt: skip
    header = ["", "seconds per step", "× alone", "slowdown, 95 %", "cases per minute"]
    note = (
        f"Alone for {arguments.lead_seconds:g} s, governed for {arguments.governed_seconds:g} s per limit, then A B A "
        f"B, {arguments.alternations} alternations of {arguments.seconds:g} s (medians of the windows; the ratio of "
        "every pair, because what else changes on a machine changes slowly). Of one processor, while not stopped, and "
        "evaluations finished: "
        + "; ".join(f"{worker.kind} {worker.share:.1%}, {worker.finished}" for worker in beside) + "."
    )  # fmt: skip
    results.show("Training beside the evaluator", [table(header, rows)], [note])


def _in_turns_rows(training: Training, worker: Beside) -> list[list[str]]:
    by_window = [steps_in(training, window) for window in worker.windows]
    pairs = [
        (median(before), median(after))
        for before, after in zip(by_window[::2], by_window[1::2], strict=True)
        if before and after
    ]
    ratio = f"{median([b / a for a, b in pairs]):.3f} (median of {len(pairs)} pairs)"
    cost = describe_slowdown(training, worker.windows)
    return [
        ["training alone, in turns", spread([a for a, _ in pairs], 3), "1", "", ""],
        [DESCRIPTIONS[worker.kind], spread([b for _, b in pairs], 3), ratio, cost, f"{worker.rate:.0f}"],
    ]


def describe_reported_slowdown(evaluating: Evaluating) -> str:
    """What the last finished evaluation's report would say of the run."""
    if not evaluating.finished:
        return "no evaluation finished"
    cost = evaluating.finished[-1].sharing.run
    if cost.slowdown is None or cost.low is None or cost.high is None:
        return "too few steps"
    return f"{cost.slowdown:+.1%} ({cost.low:+.1%} to {cost.high:+.1%}), as reported"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--alternations", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=25.0, help="length of a window")
    parser.add_argument("--lead-seconds", type=float, default=60.0, help="training alone before anything else")
    parser.add_argument("--governed-seconds", type=float, default=90.0)
    parser.add_argument("--max-slowdown", type=float, nargs="*", default=[0.02, 0.1])
    parser.add_argument("--beside", nargs="*", choices=list(BESIDE), default=["leftover"])
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.alternations, arguments.seconds = 2, 8.0
        arguments.lead_seconds, arguments.governed_seconds = 15.0, 20.0
    run(arguments)


if __name__ == "__main__":
    main()
