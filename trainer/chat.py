"""Conversations: from the texts found in the wild to messages.

The base model's own chat template is used wherever it has one; what data sets call ChatML is only a way to write
conversations down, and never reaches the model as it is.
"""

from __future__ import annotations

import re
from typing import TypedDict


class ChatMessage(TypedDict):
    """One turn, as chat templates expect it."""

    role: str
    content: str


_PSEUDO = re.compile(r"<\|(system|user|assistant)\|>\n?(.*?)\n?<\|end\|>", re.DOTALL)
_CHATML = re.compile(r"<\|im_start\|>(system|user|assistant)\n(.*?)<\|im_end\|>", re.DOTALL)


def parse_conversation(text: str) -> list[ChatMessage]:
    """Messages of a text in pseudo-ChatML or ChatML; empty when it is neither."""
    for pattern in (_PSEUDO, _CHATML):
        if found := pattern.findall(text):
            return [{"role": role, "content": content.strip("\n")} for role, content in found]
    return []
