"""Reads what the dashboard packs."""

from __future__ import annotations

import base64
import json
import zlib
from typing import Any


def unpack(letters: str) -> Any:
    return json.loads(zlib.decompress(base64.b64decode(letters)))
