"""Puts the page together from its sources: one HTML file without a single reference to anything outside.

Scripts and styles are named by their hashes in the content security policy, so that nothing else in the page can ever
run, and trusted types forbid turning text into markup: what a model answered stays text.
"""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from sidestep.evaluator.presenting.dashboard.page_data import SCHEMA_VERSION

ASSETS = Path(__file__).parent / "assets"
VENDOR = Path(__file__).parent / "vendor"

LIBRARIES = ("uPlot.iife.min.js", "diff.min.js")
SCRIPTS = (
    "dom.js", "decode.js", "model.js", "state.js", "charts.js", "overview.js", "cases.js", "heatmap.js", "changes.js",
    "case.js", "live.js", "main.js",
)  # fmt: skip
STYLES = ("page.css", "parts.css")


@cache
def script() -> str:
    """All of the page's code: libraries first, then ours in one function, so that no name leaks."""
    ours = "\n".join((ASSETS / name).read_text(encoding="utf-8") for name in SCRIPTS)
    libraries = "\n".join((VENDOR / name).read_text(encoding="utf-8") for name in LIBRARIES)
    return f'{_licences()}\n{libraries}\n(() => {{\n"use strict";\n{ours}\n}})();\n'


@cache
def style() -> str:
    ours = "\n".join((ASSETS / name).read_text(encoding="utf-8") for name in STYLES)
    return f"{(VENDOR / 'uPlot.min.css').read_text(encoding='utf-8')}\n{ours}"


def _licences() -> str:
    texts = [path.read_text(encoding="utf-8").strip() for path in sorted(VENDOR.glob("LICENSE-*"))]
    return "/*!\n" + "\n\n----\n\n".join(texts).replace("*/", "* /") + "\n*/"


def content_security_policy(*, live: bool) -> str:
    """``live`` pages may ask the server they came from, and nobody else; pages from disk may ask nobody."""
    parts = {
        "default-src": "'none'",
        "script-src": _hash(script()),
        "style-src": _hash(style()),
        "connect-src": "'self'" if live else "'none'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in parts.items())


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def page(title: str, blocks: Mapping[str, str], *, live: bool = False) -> bytes:
    """The whole file. ``blocks`` are named pieces of data in letters of base64."""
    template = (ASSETS / "page.html").read_text(encoding="utf-8")
    wrong = [name for name, text in blocks.items() if not re.fullmatch(r"[a-z0-9-]+", name) or "<" in text]
    assert not wrong, wrong
    data = "\n".join(f'<script type="text/plain" id="{name}">{text}</script>' for name, text in blocks.items())
    parts = {
        "TITLE": html.escape(title.encode("utf-8", "replace").decode()),
        "POLICY": html.escape(content_security_policy(live=live), quote=True),
        "MODE": "live" if live else "file",
        "SCHEMA": str(SCHEMA_VERSION),
        "STYLE": style(),
        "SCRIPT": script(),
        "DATA": data,
    }
    return re.sub(r"\{\{([A-Z]+)\}\}", lambda found: parts[found[1]], template).encode()
