"""The plan that PostgreSQL has for a statement whatever its parameters are, and a hash of its shape.

The shape is the tree of nodes with the tables and indexes that they read: it changes when PostgreSQL goes another way,
not when tables grow or estimates move.
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
# A parameter that is sent along would make a plan for its value; this way there is none. Needs PostgreSQL 16.
_EXPLAIN: Final = f"""DO {_TAG} DECLARE plan json; BEGIN
PERFORM set_config('lock_timeout', '100ms', true);
EXECUTE 'EXPLAIN (GENERIC_PLAN, FORMAT JSON) %s' INTO plan;
PERFORM set_config('bookstore.plan', plan::text, true);
END {_TAG}"""
_NAMED: Final = re.compile(r"%\((\w+)\)s|%%")
_LIST: Final = re.compile(r"IN \((\$\d+(?:::[\w ]+)?)(?:, \$\d+(?:::[\w ]+)?)+\)")
# What tells a node from another one of its kind; costs, rows and conditions do not.
_SHAPE_KEYS: Final = (
    "Node Type", "Join Type", "Strategy", "Partial Mode", "Operation", "Parent Relationship", "Subplan Name",
    "Schema", "Relation Name", "Index Name", "CTE Name", "Function Name", "Scan Direction",
)  # fmt: skip


def number_parameters(statement: str, paramstyle: str) -> str:
    """`statement`, as SQLAlchemy gives it to a driver, with PostgreSQL's own $1, $2 … for its parameters."""
    if paramstyle != "pyformat":
        return statement
    numbers: dict[str, int] = {}

    def number(found: re.Match[str]) -> str:
        return f"${numbers.setdefault(found[1], len(numbers) + 1)}" if found[1] else "%"

    return _NAMED.sub(number, statement)


def normalise(statement: str) -> str:
    """A numbered statement in one line, the same for any length of its IN lists."""
    return _LIST.sub(r"IN (\1, …)", " ".join(statement.split()))


def is_explainable(statement: str) -> bool:
    """Whether PostgreSQL makes a plan for it, and it can be asked for."""
    return statement.lstrip("( \n").upper().startswith(_EXPLAINABLE) and _TAG not in statement


def explain(session: Session, statement: str) -> str:
    """The plan for a numbered statement, as JSON. It is not carried out. The session has to be in a transaction."""
    connection = session.connection()
    whole = _EXPLAIN % statement.replace("'", "''")
    connection.exec_driver_sql(whole, execution_options={"no_parameters": True})
    found: str = connection.exec_driver_sql("SELECT current_setting('bookstore.plan')").scalar_one()
    return found


def shape_hash(plan: str) -> str:
    """12 hexadecimal digits that are the same for plans of one shape."""
    return text_hash(json.dumps(_shape(json.loads(plan)[0]["Plan"])))


def text_hash(text: str) -> str:
    """12 hexadecimal digits that stand for `text`."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _shape(node: Mapping[str, Any]) -> list[Any]:
    return [[node.get(key) for key in _SHAPE_KEYS], [_shape(one) for one in node.get("Plans", ())]]
