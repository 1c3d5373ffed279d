"""Windows are opened off screen, unless somebody wants to see them."""

from __future__ import annotations

import os

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
