"""``nfsnitch schema``: print the JSON Schema of rule files, for editors."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TextIO

from nfsnitch.adapters.rulefile.schema import rule_file_schema


def add_options(parser: argparse.ArgumentParser) -> None:
    """Say what the command line understands."""
    parser.description = "Print the JSON Schema of rule files, for editors."
    parser.set_defaults(command=lambda _: schema(sys.stdout))


def schema(out: TextIO) -> int:
    """Write the schema; return the exit status."""
    out.write(f"{json.dumps(rule_file_schema(), indent=2, ensure_ascii=False)}\n")
    return 0
