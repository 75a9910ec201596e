"""Where an option's value comes from: the command line, else the environment, else sidestep.toml, else its default.

One rule for names. What is ``device`` in the file is ``SIDESTEP_DEVICE`` in the environment and ``--device`` on
the command line. In the table of a program or a command it is for that one, and stronger: ``[watch] device`` is
``SIDESTEP_WATCH_DEVICE``. Options that a single command has are in its table only.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cyclopts import App, Argument, ArgumentCollection, Token

from sidestep.shared.commands import options
from sidestep.shared.commands.given_values import as_json, texts_from_file, texts_from_variable
from sidestep.shared.errors import ConfigError

if TYPE_CHECKING:  # what reads files is loaded when there may be one to read: help reads none
    from sidestep.shared.commands.settings_file import SettingsFile

PREFIX = "SIDESTEP_"
TRAINER, EVALUATOR, UP = "trainer", "evaluator", "up"
# All tables there can be. Each program checks the keys of those that it reads.
TABLES = frozenset({
    TRAINER, EVALUATOR, UP, "watch", "rerun", "status", "compare", "gate", "schema", "export", "health", "history",
    "serve", "suite", "config",
})  # fmt: skip
# What may be at the top of a file, outside of tables: the options of the groups that commands share.
GROUPS = (
    options.ModelOptions, options.EngineOptions, options.WeightsOptions, options.FolderOptions, options.SuiteOptions,
    options.SharingOptions, options.OutletOptions, options.FailOptions,
    options.RegressionGateOptions, options.GateOptions, options.UpkeepOptions, options.LogOptions,
    options.TrainingOptions,
)  # fmt: skip
TRAINER_GROUPS = (options.ModelOptions, options.WeightsOptions, options.LogOptions, options.TrainingOptions)
EVALUATION_GROUPS = tuple(group for group in GROUPS if group is not options.TrainingOptions)

Table = tuple[str, ...]


class Kind(StrEnum):
    """Where a value can come from, from strong to weak."""

    COMMAND_LINE = "command line"
    ENVIRONMENT = "environment variable"
    FILE = "file"
    DEFAULT = "default"


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One option in force, and where it comes from: a variable's name, or a file with table and key."""

    argument: Argument
    kind: Kind
    where: str = ""
    table: Table = ()

    @property
    def key(self) -> str:
        return key_of(self.argument)

    @property
    def texts(self) -> list[str]:
        """What would follow the option on the command line; nothing for a default."""
        tokens = self.argument.tokens
        return [
            str(token.implicit_value).lower() if isinstance(token.implicit_value, bool) else token.value
            for token in tokens
        ]

    @property
    def value(self) -> Any:
        """As the command gets it."""
        return self.argument.value if self.argument.tokens else self.argument.field_info.default


class OptionSources:
    """Fills in what the command line leaves out; cyclopts calls it before it converts values.

    ``tables`` are those of the program, the strongest first; the table of the command itself goes before them.
    After a call, ``settings`` says by key what is in force.
    """

    def __init__(self, root: App, tables: Sequence[str]) -> None:
        self._root = root
        self._tables: list[Table] = [(table,) for table in tables]
        self.settings: dict[str, Setting] = {}
        self.files: list[SettingsFile] = []

    def __call__(self, app: App, commands: Table, arguments: ArgumentCollection) -> None:
        """Raises ConfigError: which file, which key, and what there is."""
        from sidestep.shared.commands.settings_file import settings_files

        self.settings = {}
        self.files = settings_files(_path_given(arguments))
        for file in self.files:
            check_keys(file, self._root)
        tables = [table for table in (commands, *self._tables) if table]
        common = {id(child) for argument in arguments if argument.hint in GROUPS for child in argument.children}
        for argument in _options(arguments):
            levels = [*tables, ()] if id(argument) in common else tables[:1]
            self.settings[key_of(argument)] = self._fill(argument, levels)

    def given_to(self, table: str, groups: Collection[type]) -> list[str]:
        """Arguments for another program: what this command was told on its command line or in its own table.

        All else that program finds where this one has found it.
        """
        keys = {key for group in groups for key in _keys_of_group(group, hidden=True)}
        return [
            f"{setting.argument.name}={text}"
            for setting in self.settings.values()
            if setting.key in keys and (setting.kind is Kind.COMMAND_LINE or setting.table == (table,))
            for text in setting.texts
        ]

    def _fill(self, argument: Argument, levels: Sequence[Table]) -> Setting:
        if argument.tokens:
            return Setting(argument=argument, kind=Kind.COMMAND_LINE)
        if not argument.show:  # hidden options are for programs, which write command lines
            return Setting(argument=argument, kind=Kind.DEFAULT)
        return (
            self._from_environment(argument, levels)
            or self._from_files(argument, levels)
            or Setting(argument=argument, kind=Kind.DEFAULT)
        )

    def _from_environment(self, argument: Argument, levels: Sequence[Table]) -> Setting | None:
        for table in levels:
            for key in _keys(argument):
                variable = variable_of(table, key)
                if text := os.environ.get(variable):
                    _append(argument, texts_from_variable(text, argument))
                    return Setting(argument=argument, kind=Kind.ENVIRONMENT, where=variable, table=table)
        return None

    def _from_files(self, argument: Argument, levels: Sequence[Table]) -> Setting | None:
        for file in self.files:
            for table in levels:
                content = _table(file.document, table)
                for key in _keys(argument):
                    if key in content and not _is_table(key, content[key], table):
                        where = place_in(file, table, key)
                        _append(argument, texts_from_file(content[key], argument, file.folder, where))
                        return Setting(argument=argument, kind=Kind.FILE, where=where, table=table)
        return None


def check_keys(file: SettingsFile, root: App) -> None:
    """Raises ConfigError for the first key of a file that no option has, and for one that must not be there.

    ``root`` is the program: of the tables of commands, it knows those of its own.
    """
    common = {key for group in GROUPS for key in _keys_of_group(group)}
    for key in set(file.document) - common - TABLES:
        if of := [name for name in root if not name.startswith("-") and key in _keys_of_command(root[name])]:
            raise ConfigError(
                f"{place_in(file, (), key)}: an option of {' and '.join(of)} alone", hint=f"put it under [{of[0]}]"
            )
    _check_table(file, (), file.document, common, TABLES)
    for name, known in ((TRAINER, TRAINER_GROUPS), (EVALUATOR, EVALUATION_GROUPS)):
        content = _table(file.document, (name,))
        _check_table(file, (name,), content, {key for group in known for key in _keys_of_group(group)})
    for name in TABLES & set(file.document) - {TRAINER, EVALUATOR}:
        if name in root:
            _check_command(file, (name,), root[name])


def _check_command(file: SettingsFile, table: Table, command: App) -> None:
    content = _table(file.document, table)
    subcommands = {name for name in command if not name.startswith("-")}
    _check_table(file, table, content, _keys_of_command(command), subcommands)
    for name in subcommands & set(content):
        _check_command(file, (*table, name), command[name])


def _check_table(
    file: SettingsFile, table: Table, content: Mapping[str, Any], known: Collection[str], tables: Collection[str] = ()
) -> None:
    import difflib  # not for help, which reads no file

    for key, value in content.items():
        if key in tables and isinstance(value, dict):
            continue
        if key in tables and key not in known:
            wrong = f"{place_in(file, table, key)} = {as_json(value)} is wrong"
            raise ConfigError(wrong, hint=f"it is a table: [{key}]")
        if key not in known:
            names = sorted({*known, *tables})
            near = difflib.get_close_matches(key, names, 1)
            raise ConfigError(
                f"{place_in(file, table, key)}: there is no such {'option or table' if tables else 'option'}",
                hint=f"did you mean {near[0]}?" if near else f"known are {', '.join(names)}",
            )
        if file.forbids(key, value):
            raise ConfigError(
                f"{place_in(file, table, key)}: not for an expert's folder to say, which can come from somebody else",
                hint=f"put it into ./sidestep.toml, into {variable_of(table, key)}, or on the command line",
            )


def variable_of(table: Table, key: str) -> str:
    """The environment variable of an option."""
    return PREFIX + "_".join((*table, key)).upper()


def place_in(file: SettingsFile, table: Table, key: str) -> str:
    """File, table and key, for people."""
    named = f"[{'.'.join(table)}] " if table else ""
    return f"{file.name}: {named}{key}"


def key_of(argument: Argument) -> str:
    """What an option is called in a file: its first name."""
    return _keys(argument)[0]


def _keys(argument: Argument) -> list[str]:
    names = [name for name in argument.names if name.startswith("--") and name not in argument.negatives]
    return [name.removeprefix("--").replace("-", "_") for name in names]


def _keys_of_command(command: App) -> set[str]:
    arguments = command.assemble_argument_collection() if command.default_command else []
    return {key for argument in _options(arguments) if argument.show for key in _keys(argument)}


@cache
def _keys_of_group(group: type, *, hidden: bool = False) -> frozenset[str]:
    def command(*, given: Any) -> None: ...

    command.__annotations__["given"] = group
    collection = App(default_command=command).assemble_argument_collection()
    return frozenset(key for argument in _options(collection) if argument.show or hidden for key in _keys(argument))


def _options(arguments: Iterable[Argument]) -> Iterator[Argument]:
    """Those that have a value and a name of their own: neither groups of options nor positional arguments."""
    for argument in arguments:
        if argument.parse and not argument.children and argument.index is None and _keys(argument):
            yield argument


def _path_given(arguments: Iterable[Argument]) -> Path | None:
    """The path that a command is about: its first positional argument."""
    for argument in arguments:
        if argument.index == 0 and argument.hint is Path:
            if argument.tokens:
                return Path(argument.tokens[0].value)
            return argument.field_info.default if isinstance(argument.field_info.default, Path) else None
    return None


def _table(document: Mapping[str, Any], table: Table) -> Mapping[str, Any]:
    for name in table:
        inner = document.get(name)
        document = inner if isinstance(inner, dict) else {}
    return document


def _is_table(key: str, value: Any, table: Table) -> bool:
    """Whether a key is a command's table: ``suite`` is an option and a command."""
    return not table and key in TABLES and isinstance(value, dict)


def _append(argument: Argument, values: Sequence[str]) -> None:
    for index, value in enumerate(values):
        argument.append(Token(keyword=key_of(argument), value=value, index=index))
