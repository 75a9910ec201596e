"""Names and places: the one file that says what is called what, for trainer and evaluator alike.

experts/<name>/
  manifest.json
  tests/test_cases.json
  weights/
    <model-dir>/
      .outbox/<step>-<hash12>/     held copy of a published checkpoint (see shared.protocol.outbox)
      .pace.json                   times of the training's recent steps (see shared.protocol.pace)
      checkpoint-<step>/READY.json the marker (see shared.protocol.marker)
      final/  adapter/
    training_reports/
      checkpoint-<step>/report.json report.md outcome.json
      base/                        the base model without adapter
      archive/<version>/<model-dir>/checkpoint-<step>[.<n>]/
      suites/<hash>.json           the test cases as they were asked
      comparison.json              history of every case
      advice.json                  what the trainer may read
      index.html                   the dashboard
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

MARKER_NAME = "READY.json"
INCOMPLETE_SENTINEL = "checkpoint-is-incomplete.txt"  # transformers: a save on SIGTERM that was cut short
OUTBOX_NAME = ".outbox"
PACE_NAME = ".pace.json"
REPORTS_NAME = "training_reports"
ARCHIVE_NAME = "archive"
BASE_REPORT_NAME = "base"
COMPARISON_NAME = "comparison.json"
DASHBOARD_NAME = "index.html"
REPORT_NAME = "report.json"
REPORT_MARKDOWN_NAME = "report.md"
OUTCOME_NAME = "outcome.json"
COMPRESSED_SUFFIX = ".gz"  # report.json.gz, report.md.gz: reports older than the newest ``keep_reports``
ADVICE_NAME = "advice.json"
MAX_MARKER_BYTES = 1 << 20

_CHECKPOINT = re.compile(r"checkpoint-(0|[1-9]\d{0,11})")


def checkpoint_step(name: str) -> int | None:
    """The step in a checkpoint folder's name, or None when it is not such a name.

    Stricter than transformers, which also counts ``checkpoint-20.x`` as a checkpoint.
    """
    found = _CHECKPOINT.fullmatch(name)
    return int(found.group(1)) if found else None


def checkpoint_name(step: int) -> str:
    return f"checkpoint-{step}"


def step_named(text: str) -> int | None:
    """The step that a person means by ``250`` or ``checkpoint-250``, or None when it is neither."""
    return int(text) if text.isdecimal() else checkpoint_step(text)


def last_path_part(name: str) -> str:
    r"""The last part of a model name that may be a hub id, a POSIX path or a Windows path.

    >>> last_path_part("F:/Node/models/Qwen3-0.6B"), last_path_part("C:\\models\\Qwen3-0.6B\\")
    ('Qwen3-0.6B', 'Qwen3-0.6B')
    """
    return re.split(r"[/\\]", name.rstrip("/\\"))[-1]


def model_folder_name(base_model_name: str) -> str:
    """Folder under ``weights/`` for a base model: last part, lower case, no dots, ``_`` as ``-``.

    >>> model_folder_name("F:/Node/models/Qwen3-0.6B")
    'qwen3-06b'
    """
    return last_path_part(base_model_name).lower().replace(".", "").replace("_", "-")


@dataclass(frozen=True)
class ExpertFolder:
    """An expert: manifest, test cases, datasets and weights."""

    root: Path

    @property
    def manifest(self) -> Path:
        return self.root / "manifest.json"

    @property
    def suite(self) -> Path:
        return self.root / "tests" / "test_cases.json"

    @property
    def weights(self) -> WeightsFolder:
        return WeightsFolder(self.root / "weights")


@dataclass(frozen=True)
class WeightsFolder:
    """The trainer's ``output_dir``: one folder per base model, and the reports."""

    root: Path

    @property
    def reports(self) -> ReportsFolder:
        return ReportsFolder(self.root / REPORTS_NAME)

    @property
    def expert(self) -> ExpertFolder:
        """The expert whose weights these are, if they are an expert's."""
        return ExpertFolder(self.root.parent)

    def model(self, base_model_name: str) -> ModelFolder:
        return ModelFolder(self.root / model_folder_name(base_model_name))


@dataclass(frozen=True)
class ModelFolder:
    """Where the trainer writes the checkpoints of one base model."""

    root: Path

    @property
    def outbox(self) -> Path:
        return self.root / OUTBOX_NAME

    @property
    def pace(self) -> Path:
        return self.root / PACE_NAME

    def checkpoint(self, step: int) -> Path:
        return self.root / checkpoint_name(step)

    def absolute(self) -> ModelFolder:
        return ModelFolder(self.root.absolute())


@dataclass(frozen=True)
class ReportsFolder:
    """Where the evaluator writes; the only place it writes."""

    root: Path

    def checkpoint(self, step: int) -> Path:
        return self.root / checkpoint_name(step)

    @property
    def base(self) -> Path:
        return self.root / BASE_REPORT_NAME

    @property
    def archive(self) -> Path:
        return self.root / ARCHIVE_NAME

    @property
    def comparison(self) -> Path:
        return self.root / COMPARISON_NAME

    @property
    def advice(self) -> Path:
        return self.root / ADVICE_NAME

    @property
    def dashboard(self) -> Path:
        return self.root / DASHBOARD_NAME

    @property
    def suites(self) -> Path:
        return self.root / "suites"

    @property
    def attempts(self) -> Path:
        return self.root / ".attempts"

    @property
    def claims(self) -> Path:
        return self.root / ".claims"

    @property
    def adopted(self) -> Path:
        """Holds, by model folder, checkpoints that nobody published (evaluator.watching.adoption)."""
        return self.root / ".adopted"
