"""Where the example's files are, and a way to load its scripts, which are not a package."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

PROJECT = Path(__file__).resolve().parents[3]


@pytest.fixture
def project() -> Path:
    return PROJECT


@pytest.fixture
def shop() -> Path:
    return PROJECT / "examples" / "shop"


@pytest.fixture
def load_script() -> Callable[[str], ModuleType]:
    """Load ``examples/<name>.py`` afresh, under a name that collides with nothing."""

    def load(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(f"example_{name}", PROJECT / "examples" / f"{name}.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        return module

    return load
