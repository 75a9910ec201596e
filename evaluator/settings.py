"""Everything an evaluator is told, in one place, validated before any work starts."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sidestep.evaluator.cases.exchange import Decoding
from sidestep.shared.commands.choices import Order
from sidestep.shared.errors import ManifestError
from sidestep.shared.protocol.manifest import Manifest, read_manifest
from sidestep.shared.protocol.place import Place

DEFAULT_ENGINE = "sidestep.evaluator.engine.transformers_engine:create"


@dataclass(frozen=True)
class EngineSettings:
    """All an engine factory gets. Paths are absolute; nothing is fetched from a hub unless ``allow_hub``."""

    base_model: str
    device: str = "auto"  # auto | cpu | cuda | cuda:N
    dtype: str = "auto"  # auto | float32 | bfloat16 | float16
    quantization: str = "none"  # none | int8 | int4
    allow_hub: bool = False
    prompt_template: str | None = None  # name of the chat template for base models that bring none
    replay: bool | None = None  # drafts from the previous checkpoint's answers; None: where answers are exact
    memory_share: float | None = None  # most of a GPU's memory; None: what is loaded, and half of what is free then
    options: tuple[tuple[str, Any], ...] = ()  # engine-specific; used by tests


@dataclass(frozen=True)
class EvaluatorSettings:
    """One evaluator's settings. Times in seconds."""

    place: Place
    engine: EngineSettings
    suite_path: Path  # need not exist: then there is nothing to test
    decoding: Decoding = field(default_factory=Decoding)
    manifest: Manifest | None = None
    order: Order = Order.NEWEST
    poll_seconds: float = 5.0  # the promise behind the file system events
    stall_seconds: float = 600.0  # silence after which a worker counts as hung
    retry_seconds: float = 5.0  # pause before a failed attempt is repeated
    deadline_seconds: float | None = None  # longest evaluation of one checkpoint
    max_slowdown: float | None = 0.02  # what training may lose to the evaluator; None: no limit
    in_session_of_training: bool = False  # as when co-launched to take only what training leaves over
    engine_factory: str = DEFAULT_ENGINE
    log_json: bool = False
    keep_reports: int | None = None  # newest reports that stay uncompressed; None: all

    @property
    def expert_name(self) -> str:
        return self.manifest.name if self.manifest else self.place.root.name

    @property
    def expert_version(self) -> str:
        return self.manifest.version if self.manifest else "unknown"

    def current_version(self) -> str | None:
        """The expert's version as its manifest says now: people change it while an evaluator waits.

        None without a manifest.
        """
        if self.manifest is None:
            return None
        try:
            return read_manifest(self.manifest.path).version
        except ManifestError:
            return self.manifest.version
