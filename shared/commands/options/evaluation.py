"""Everything that an evaluation is told, whichever command begins it."""

from __future__ import annotations

from dataclasses import dataclass, field

from cyclopts import Parameter

from sidestep.shared.commands.options.folders import FolderOptions
from sidestep.shared.commands.options.gates import FailOptions, GateOptions
from sidestep.shared.commands.options.model import EngineOptions, ModelOptions
from sidestep.shared.commands.options.outlets import OutletOptions
from sidestep.shared.commands.options.sharing import SharingOptions
from sidestep.shared.commands.options.suite import SuiteOptions
from sidestep.shared.commands.options.upkeep import LogOptions, UpkeepOptions


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class EvaluationOptions:
    """All groups of the evaluator's, in the order of the help."""

    model: ModelOptions = field(default_factory=ModelOptions)
    suite: SuiteOptions = field(default_factory=SuiteOptions)
    sharing: SharingOptions = field(default_factory=SharingOptions)
    fail: FailOptions = field(default_factory=FailOptions)
    engine: EngineOptions = field(default_factory=EngineOptions)
    folders: FolderOptions = field(default_factory=FolderOptions)
    outlets: OutletOptions = field(default_factory=OutletOptions)
    gates: GateOptions = field(default_factory=GateOptions)
    upkeep: UpkeepOptions = field(default_factory=UpkeepOptions)
    log: LogOptions = field(default_factory=LogOptions)
