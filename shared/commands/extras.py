"""Which packages a role needs, so that a command says what to install before it fails at the first import of one.

``pip install sidestep`` alone publishes checkpoints; the commands belong to the extras ``trainer`` and ``evaluator``.
Nothing here imports anything that such an extra brings.
"""

from __future__ import annotations

import importlib.util
import sys

from sidestep.shared.commands.exit_codes import EXIT_FAILURE

# Modules of the packages that pyproject.toml lists for each role (a test compares them). bitsandbytes is not among
# them: it is looked for where a model asks for it, and what then happens is up to the model's configuration.
MODULES = {
    "trainer": (
        "accelerate", "cyclopts", "datasets", "filelock", "huggingface_hub", "jinja2", "jsonschema", "orjson", "peft",
        "pyarrow", "pydantic", "referencing", "rich", "safetensors", "torch", "transformers", "trl", "xxhash",
    ),
    "evaluator": (
        "cyclopts", "datasets", "defusedxml", "filelock", "httpx", "jinja2", "jsonschema", "junitparser", "numpy",
        "orjson", "peft", "prometheus_client", "pyarrow", "pydantic", "re2", "referencing", "rich", "safetensors",
        "scipy", "sqlglot", "sse_starlette", "starlette", "statsmodels", "tenacity", "torch", "transformers",
        "tree_sitter", "tree_sitter_json", "uvicorn", "watchdog", "yaml",
    ),
}  # fmt: skip


def require_extras(command: str, *roles: str) -> None:
    """End the program with one line when a package that ``roles`` need is not installed."""
    named = missing_modules(*roles)
    if not named:
        return
    extra = roles[0] if len(roles) == 1 else "all"
    sys.stderr.write(f"{command}: error: not installed: {named}; pip install 'sidestep[{extra}]'\n")
    raise SystemExit(EXIT_FAILURE)


def missing_modules(*roles: str) -> str:
    """The first few of the modules that ``roles`` need and that are not installed, for people; empty when all are."""
    missing = sorted({module for role in roles for module in MODULES[role] if not is_installed(module)})
    return ", ".join(missing[:4]) + (f" and {len(missing) - 4} more" if len(missing) > 4 else "")


def is_installed(module: str) -> bool:
    """Whether a module at the top level can be found; it is not imported."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ModuleNotFoundError, ValueError):  # ValueError: something put a module without a spec in its place
        return module in sys.modules
