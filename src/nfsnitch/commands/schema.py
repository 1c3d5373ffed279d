"""``nfsnitch schema``: print the JSON Schema of rule files, for editors."""

from __future__ import annotations

import json
from typing import TextIO

from nfsnitch.adapters.rulefile.schema import rule_file_schema


def schema(out: TextIO) -> int:
    """Write the schema; return the exit status."""
    out.write(f"{json.dumps(rule_file_schema(), indent=2, ensure_ascii=False)}\n")
    return 0
