"""Every option that more than one command has, defined once: name, type, limits, unit, default, help text.

Commands take groups of them as parameters. On the command line the groups are flat, and so they are in sidestep.toml
and in the environment (sidestep.shared.commands.sources). An option that a single command has is defined with it.

One module for each panel of the help, and small: whoever asks a class for its fields' docstrings parses its whole file.
"""

from __future__ import annotations

from sidestep.shared.commands.options.evaluation import EvaluationOptions
from sidestep.shared.commands.options.folders import FolderOptions, WeightsOptions
from sidestep.shared.commands.options.gates import FailOptions, GateOptions, RegressionGateOptions
from sidestep.shared.commands.options.model import EngineOptions, ModelOptions
from sidestep.shared.commands.options.outlets import OutletOptions
from sidestep.shared.commands.options.panels import FIRST, HIDDEN, LOOPBACK, PORT, THIS_COMMAND, AsJson, ExpertPath
from sidestep.shared.commands.options.sharing import SharingOptions
from sidestep.shared.commands.options.suite import SuiteOptions
from sidestep.shared.commands.options.training import TrainingOptions
from sidestep.shared.commands.options.upkeep import LogOptions, UpkeepOptions

__all__ = [
    "FIRST",
    "HIDDEN",
    "LOOPBACK",
    "PORT",
    "THIS_COMMAND",
    "AsJson",
    "EngineOptions",
    "EvaluationOptions",
    "ExpertPath",
    "FailOptions",
    "FolderOptions",
    "GateOptions",
    "LogOptions",
    "ModelOptions",
    "OutletOptions",
    "RegressionGateOptions",
    "SharingOptions",
    "SuiteOptions",
    "TrainingOptions",
    "UpkeepOptions",
    "WeightsOptions",
]
