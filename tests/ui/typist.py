"""A program that somebody types into: it prints what it has got, whenever that changes."""

from __future__ import annotations

import sys

from PyQt6.QtWidgets import QApplication, QLineEdit


def main() -> int:
    """Show one field, until somebody ends it."""
    application = QApplication(sys.argv)
    field = QLineEdit()
    field.setWindowTitle("typist")
    field.textChanged.connect(lambda text: print(text, flush=True))  # noqa: T201  for the test
    field.returnPressed.connect(lambda: field.insert("!"))
    field.resize(400, 60)
    field.show()
    print("ready", flush=True)  # noqa: T201  for the test
    return application.exec()


if __name__ == "__main__":
    sys.exit(main())
