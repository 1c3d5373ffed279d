"""The daemon imports what it needs and no more."""

from __future__ import annotations

import subprocess
import sys


def _said(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_daemon_comes_without_tls_and_others_can_still_have_it() -> None:
    code = """
import sys
from nfsnitch.lean import import_asyncio
import_asyncio()
import asyncio
print("ssl" in sys.modules)
import ssl
print(ssl.OPENSSL_VERSION_NUMBER > 0)
"""
    assert _said(code).split() == ["False", "True"]


def test_a_check_of_rules_loads_nothing_of_the_daemon() -> None:
    code = "import sys, nfsnitch.cli; print('asyncio' in sys.modules, 'nftables' in sys.modules)"
    assert _said(code) == "False False"
