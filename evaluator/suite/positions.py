"""On which line of a file a value is: JSON by its syntax tree, YAML by its nodes, JSON lines by counting."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import tree_sitter_json
import yaml
from tree_sitter import Language, Node, Parser

Key = str | int
LineOf = Callable[[Sequence[Key]], int]


def line_finder(path: Path, content: bytes) -> LineOf:
    """A function from a value's path (``("test_cases", 3, "checks")``) to its line, or that of what contains it."""
    if path.suffix == ".jsonl":
        lines = [number for number, line in enumerate(content.splitlines(), 1) if line.strip()]
        return lambda keys: lines[int(keys[0])] if keys and int(keys[0]) < len(lines) else 1
    if path.suffix in (".yaml", ".yml"):
        root = yaml.compose(content, yaml.SafeLoader)
        return lambda keys: _line_in_yaml(root, keys)
    tree = Parser(Language(tree_sitter_json.language())).parse(content)
    return lambda keys: _line_in_json(tree.root_node, keys)


def _line_in_json(root: Node, keys: Sequence[Key]) -> int:
    node = root.named_children[0] if root.named_children else root
    line = node.start_point.row + 1
    for key in keys:
        found = _child(node, key)
        if found is None:
            break
        line = found.start_point.row + 1
        value = found.child_by_field_name("value") if found.type == "pair" else found
        node = value if value is not None else found
    return int(line)


def _child(node: Node, key: Key) -> Node | None:
    if node.type == "array" and isinstance(key, int):
        members = [child for child in node.named_children if child.type != "comment"]
        return members[key] if key < len(members) else None
    if node.type != "object":
        return None
    for pair in node.named_children:
        name = pair.child_by_field_name("key")
        if name is not None and name.text is not None and name.text.decode().strip('"') == key:
            return pair
    return None


def _line_in_yaml(root: yaml.Node | None, keys: Sequence[Key]) -> int:
    node, line = root, root.start_mark.line + 1 if root is not None else 1
    for key in keys:
        if isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
            node = node.value[key]
            line = node.start_mark.line + 1
        elif isinstance(node, yaml.MappingNode):
            found = next(((name, value) for name, value in node.value if name.value == key), None)
            if found is None:
                break
            line, node = found[0].start_mark.line + 1, found[1]
        else:
            break
    return int(line)
