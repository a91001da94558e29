"""The page of the journal's records, from the classes in minigpt/io/records.py and the docstrings of their fields."""

import ast
from pathlib import Path

import minigpt
from docs.reference.tables import code, table

RECORDS = Path(minigpt.__file__).parent / "io" / "records.py"
HEAD = """# Journal records

`journal.jsonl` holds one JSON object a line. Lines are appended and never changed, so the file is the truth about what
happened. A kill or a full disk can leave at most one torn line, at the end; the next process cuts it off.

The field `kind` names the record. Losses are in nats per token, and times ending in `_ms` are Unix milliseconds. A step
that a resumed run repeats must give the same numbers as the record that is there, or the run stops with the status
`differs`.
"""


class _Record:
    """One class of the file, with the fields of its bases first."""

    def __init__(self, node: ast.ClassDef, known: dict[str, "_Record"]) -> None:
        self.kind, self.doc = "", ast.get_docstring(node) or ""
        self.fields: dict[str, tuple[str, str]] = {}
        for base in node.bases:
            if isinstance(base, ast.Name) and base.id in known:
                self.fields |= known[base.id].fields
        for statement, following in zip(node.body, [*node.body[1:], None], strict=True):
            if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
                continue
            if "ClassVar" in ast.unparse(statement.annotation):
                if statement.target.id == "kind" and isinstance(statement.value, ast.Constant):
                    self.kind = str(statement.value.value)
                continue
            sentence = ""
            if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
                sentence = str(following.value.value)
            self.fields[statement.target.id] = (ast.unparse(statement.annotation), sentence)


def record_kinds() -> dict[str, _Record]:
    """Every kind of record, in the order of the file."""
    known: dict[str, _Record] = {}
    for node in ast.parse(RECORDS.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef):
            known[node.name] = _Record(node, known)
    return {record.kind: record for record in known.values() if record.kind}


def page() -> str:
    parts = [HEAD]
    for kind, record in record_kinds().items():
        rows = ((code(name), code(hint), sentence) for name, (hint, sentence) in record.fields.items())
        parts += [f"## {kind}\n", f"{record.doc}\n", table(("field", "type", "meaning"), rows)]
    return "\n".join(parts)
