"""PostgreSQL's generic plan for a statement, and a hash of the plan's shape.

The shape is the tree of nodes with the tables and indexes that they read. It changes if PostgreSQL chooses another
plan, not if tables grow or estimates change.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy.orm import Session

_EXPLAINABLE: Final = ("SELECT", "INSERT", "UPDATE", "DELETE", "WITH", "MERGE")
_TAG: Final = "$bookstore$"
# Parameters sent along would get a plan for their values; within DO there are none. Needs PostgreSQL 16.
_EXPLAIN: Final = f"""DO {_TAG} DECLARE plan json; BEGIN
PERFORM set_config('lock_timeout', '100ms', true);
EXECUTE 'EXPLAIN (GENERIC_PLAN, FORMAT JSON) %s' INTO plan;
PERFORM set_config('bookstore.plan', plan::text, true);
END {_TAG}"""
_NAMED: Final = re.compile(r"%\((\w+)\)s|%%")
_LIST: Final = re.compile(r"IN \((\$\d+(?:::[\w ]+)?)(?:, \$\d+(?:::[\w ]+)?)+\)")
# The keys of a node that belong to the shape; costs, rows and conditions do not.
_SHAPE_KEYS: Final = (
    "Node Type", "Join Type", "Strategy", "Partial Mode", "Operation", "Parent Relationship", "Subplan Name",
    "Schema", "Relation Name", "Index Name", "CTE Name", "Function Name", "Scan Direction",
)  # fmt: skip


def number_parameters(statement: str, paramstyle: str) -> str:
    """Replace the parameters of `statement`, in SQLAlchemy's `paramstyle`, with PostgreSQL's $1, $2 …"""
    if paramstyle != "pyformat":
        return statement
    numbers: dict[str, int] = {}

    def number(match: re.Match[str]) -> str:
        return f"${numbers.setdefault(match[1], len(numbers) + 1)}" if match[1] else "%"

    return _NAMED.sub(number, statement)


def normalise(statement: str) -> str:
    """Return a numbered statement on one line, the same for any length of its IN lists."""
    return _LIST.sub(r"IN (\1, …)", " ".join(statement.split()))


def is_explainable(statement: str) -> bool:
    """Return whether PostgreSQL plans this statement and EXPLAIN can be used on it."""
    return statement.lstrip("( \n").upper().startswith(_EXPLAINABLE) and _TAG not in statement


def explain(session: Session, statement: str) -> str:
    """Return the plan of a numbered statement as JSON, without executing it. The session must be in a transaction."""
    connection = session.connection()
    block = _EXPLAIN % statement.replace("'", "''")
    connection.exec_driver_sql(block, execution_options={"no_parameters": True})
    plan: str = connection.exec_driver_sql("SELECT current_setting('bookstore.plan')").scalar_one()
    return plan


def shape_hash(plan: str) -> str:
    """Return 12 hexadecimal digits that are the same for plans of the same shape."""
    return text_hash(json.dumps(_shape(json.loads(plan)[0]["Plan"])))


def text_hash(text: str) -> str:
    """Return a hash of `text` as 12 hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _shape(node: Mapping[str, Any]) -> list[Any]:
    return [[node.get(key) for key in _SHAPE_KEYS], [_shape(child) for child in node.get("Plans", ())]]
