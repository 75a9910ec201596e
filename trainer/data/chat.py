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


class NoConversation(ValueError):
    """A text uses the marks of a conversation, but not as one; the message says what is wrong."""


_PSEUDO = re.compile(r"\s*<\|(system|user|assistant)\|>\n?(.*?)\n?<\|end\|>", re.DOTALL)
_CHATML = re.compile(r"\s*<\|im_start\|>(system|user|assistant)\n(.*?)<\|im_end\|>", re.DOTALL)
_OPENING = re.compile(r"<\|(?:system|user|assistant|im_start)\|>")
_ANY_MARK = re.compile(r"<\|(?:system|user|assistant|end|im_start|im_end)\|>")
_AROUND = re.compile(r"^\s*(?:<s>|<\|begin_of_text\|>)\s*|\s*(?:</s>|<\|endoftext\|>|<\|end_of_text\|>)\s*$")


def parse_conversation(text: str) -> list[ChatMessage]:
    """Messages of a text in pseudo-ChatML or ChatML; empty when it bears no marks of either.

    Raises NoConversation when it does but is broken: a turn without its end, or text between the turns.
    """
    if not _ANY_MARK.search(text):
        return []
    text = _AROUND.sub("", text)
    turn = _CHATML if "<|im_start|>" in text else _PSEUDO
    messages: list[ChatMessage] = []
    at = 0
    while found := turn.match(text, at):
        if _OPENING.search(found[2]):
            raise NoConversation("a turn is not closed")
        messages.append({"role": found[1], "content": found[2].strip("\n")})
        at = found.end()
    if rest := text[at:].strip():
        raise NoConversation("a turn is not closed" if _OPENING.match(rest) else "there is text outside the turns")
    return messages
