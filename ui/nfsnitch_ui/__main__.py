"""The desktop program of nfsnitch: `nfsnitch-ui`, or `python -m nfsnitch_ui`."""

from __future__ import annotations

import argparse
import sys
import traceback
from pathlib import Path
from types import TracebackType

from PyQt6.QtCore import QLibraryInfo, QLocale, QSettings, QTranslator
from PyQt6.QtWidgets import QApplication

from nfsnitch.protocol import socket_path
from nfsnitch_ui import i18n
from nfsnitch_ui.application import Program
from nfsnitch_ui.i18n import _
from nfsnitch_ui.icons import own_icon
from nfsnitch_ui.instance import Instance, runtime_directory
from nfsnitch_ui.style import Style
from nfsnitch_ui.waking import Signals

_OWN_NETNS = Path("/proc/self/ns/net")


def main(arguments: list[str] | None = None) -> int:
    """Run the program; return its exit status."""
    i18n.use()
    given = sys.argv[1:] if arguments is None else arguments
    options, for_qt = _parser().parse_known_args(given)
    application = QApplication([sys.argv[0], *for_qt])
    application.setApplicationName("nfsnitch-ui")
    application.setApplicationDisplayName("nfsnitch")
    application.setDesktopFileName("org.nfsnitch.Nfsnitch")
    application.setWindowIcon(own_icon())
    _translate_qt(application)
    Style(application, options.scheme)
    path = options.socket or socket_path(options.netns or _OWN_NETNS.stat().st_ino)
    instance = Instance(path, runtime_directory())
    if not instance.take():
        return 0
    program = Program(path, QSettings("nfsnitch", "nfsnitch-ui"))
    if options.paint_log is not None:
        program.log_paints(options.paint_log)
    instance.asked_to_show.connect(program.open)
    Signals(program.leave, application)
    sys.excepthook = _report  # PyQt would end the program on an error in a slot
    program.start(is_hidden=options.hidden)
    status = application.exec()
    program.close()
    instance.release()
    return status


def _report(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Tell of an error, and go on: a question can be asked all the same."""
    traceback.print_exception(kind, error, trace)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nfsnitch-ui",
        description=_("Asks you about connections, and shows what the firewall does."),
        epilog=_("Options of Qt, as -platform, are taken, too."),
    )
    parser.add_argument(
        "--hidden", action="store_true", help=_("start without a window; ask when there is need")
    )
    parser.add_argument("--socket", metavar="PATH", help=_("the socket of the firewall"))
    parser.add_argument(
        "--netns",
        metavar="INODE",
        type=int,
        help=_("the network namespace that the firewall is for, by its inode number"),
    )
    parser.add_argument(
        "--scheme", choices=("light", "dark"), help=_("colours; without it, as the desktop has it")
    )
    parser.add_argument("--paint-log", metavar="FILE", type=Path, help=argparse.SUPPRESS)
    return parser


def _translate_qt(application: QApplication) -> None:
    """Have Qt's own words, in menus of text fields, in the language of ours."""
    translator = QTranslator(application)
    directory = QLibraryInfo.path(QLibraryInfo.LibraryPath.TranslationsPath)
    if translator.load(QLocale(), "qtbase", "_", directory):
        application.installTranslator(translator)


if __name__ == "__main__":
    sys.exit(main())
