"""A command line program: help, version, shell completion, one line per error of the user's, the exit codes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from cyclopts import App, CycloptsError, Group, Parameter

from sidestep.shared.commands.exit_codes import EXIT_FAILURE, EXIT_USAGE
from sidestep.shared.commands.sources import Kind, OptionSources
from sidestep.shared.errors import SidestepError
from sidestep.shared.logs import configure_logging, terminal_safe

if TYPE_CHECKING:
    from rich.console import Console

COMMANDS = Group("Commands", sort_key=0)
HELP_FLAGS = frozenset({"--help", "-h"})
PROGRAM = Group("This program", sort_key=100)


class Program:
    """One of the three programs. Commands are registered with ``app``; ``sources`` says where options came from."""

    def __init__(self, name: str, tables: Sequence[str], about: str, usage: str | None = None) -> None:
        self.name = name
        self.app = App(
            name=name,
            help=about,
            usage=usage,
            help_format="plaintext",
            help_epilogue="Options can also be given in sidestep.toml, and in the environment as SIDESTEP_<OPTION>.",
            help_flags=HELP_FLAGS,
            version=lambda: f"{name} {installed_version()}",
            group_commands=COMMANDS,
            default_parameter=Parameter(negative=(), show_default=_shown_default, name_transform=_option_name),
            result_action="return_value",
        )
        self.sources = OptionSources(self.app, tables)
        self.app.config = (self.sources,)
        self.app.register_install_completion_command(help="Install completion for the shell that this runs in.")
        self.app["--install-completion"].group = PROGRAM
        self.app["--help"].group = PROGRAM
        self.app["--version"].group = PROGRAM

    def run(self, arguments: Sequence[str] | None = None) -> NoReturn:
        """Run the command that ``arguments`` name, by default this process's, and exit."""
        configure_logging()  # a command that is told how to log does so anew
        arguments = sys.argv[1:] if arguments is None else arguments
        try:
            if HELP_FLAGS & set(arguments) or not arguments:
                self.print_help([word for word in arguments if word not in HELP_FLAGS])
            else:
                self.app(arguments, exit_on_error=False, print_error=False)
        except CycloptsError as error:
            self._say_usage(error)
        except SidestepError as error:
            self._say(error.message, error.hint)
            raise SystemExit(error.exit_code) from None
        raise SystemExit(0)

    def print_help(self, words: Sequence[str], console: Console | None = None) -> None:
        """The page of the command that ``words`` begin with; what follows is not parsed."""
        chain: list[str] = []
        app = self.app
        for word in words:
            if word not in app:
                break
            chain.append(word)
            app = app[word]
        for name in app:
            app[name]  # loads it: the page has the first line of each command
        self.app.help_print(chain, console=console)

    def _say_usage(self, error: CycloptsError) -> NoReturn:
        """What is wrong in the file or variable that has it, or on the command line."""
        error.verbose = False
        token = error.argument.tokens[0] if error.argument and error.argument.tokens else None
        setting = self.sources.settings.get(token.keyword or "") if token and token.source != "cli" else None
        if setting and setting.kind is not Kind.DEFAULT:
            text = str(error).replace(f" for {setting.key}", "", 1)
            self._say(f"{setting.where}: {text[:1].lower()}{text[1:]}", None)
            raise SystemExit(EXIT_FAILURE) from None
        named = " ".join([self.name, *(error.command_chain or ())])
        self._say(str(error), f"see {named} --help")
        raise SystemExit(EXIT_USAGE) from None

    def _say(self, message: str, hint: str | None) -> None:
        sys.stderr.write(f"{self.name}: error: {terminal_safe(message)}\n")
        if hint:
            sys.stderr.write(f"{self.name}: hint: {terminal_safe(hint)}\n")


def installed_version() -> str:
    """The version of this distribution; a checkout that is not installed has none."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("sidestep")
    except PackageNotFoundError:
        return "(not installed)"


def _shown_default(value: Any) -> str | None:
    """What the help says of a default: nothing of flags, of options that may be repeated, and where there is none."""
    return None if value is None or isinstance(value, bool | tuple) else str(value)


def _option_name(name: str) -> str:
    return name.lower().strip("_").replace("_", "-")
