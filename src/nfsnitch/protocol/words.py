"""What both sides take for granted, and the words of the protocol that are one of a few."""

from __future__ import annotations

from enum import StrEnum

VERSION = 1
MAX_REQUEST_BYTES = 16_384
"""A request, its line end included."""
MAX_REPLY_BYTES = 1 << 20
"""An answer or a record, its line end included."""
MOST_ANSWERED = 1_000
"""Questions that one request answers."""
MOST_ROWS = 50
"""Rules, records or questions that one answer lists at most; ask again for more."""
MOST_NAMES = 500
"""Names that one answer lists at most: there may be thousands, and each is short."""

RUN_DIRECTORY = "/run/nfsnitch"


def socket_path(netns: int) -> str:
    """Return the path of the daemon's socket for the namespace with inode number *netns*."""
    return f"{RUN_DIRECTORY}/netns-{netns}.sock"


class Right(StrEnum):
    """What a client may do; a request needs one of them."""

    WATCH = "watch"
    """See what is decided and what is asked."""
    ANSWER = "answer"
    """Answer questions, make and revoke the rules that answers are, and set the mode."""
    CONTROL = "control"
    """Change what is in force, and stop the daemon."""


class Why(StrEnum):
    """Why the daemon refused, for programs; people read the text that comes with it."""

    NOT_ALLOWED = "not-allowed"
    TOO_MANY = "too-many"
    """As many connections as there may be are open already."""
    BAD_MESSAGE = "bad-message"
    BAD_VERSION = "bad-version"
    UNKNOWN_TYPE = "unknown-type"
    NOT_SUPPORTED = "not-supported"
    SILENT = "silent"
    """Nothing was asked for too long."""
    FAILED = "failed"
    """The daemon failed on the request."""
    BAD_ANSWER = "bad-answer"
    """Such an answer makes no sense, or not to this question."""
    NO_SUCH_RULE = "no-such-rule"
    """No answer has made a rule of that name, or it is gone."""


class Say(StrEnum):
    """What may be answered to a question."""

    ALLOW = "allow"
    DENY = "deny"
    REJECT = "reject"
    DISMISS = "dismiss"
    """No answer: what nobody answers becomes of it (the rule file's ``unanswered``), now."""


class Who(StrEnum):
    """Whose connections an answer is for; a question names those that make sense for it."""

    PROGRAM = "program"
    """This program, by its path; of an interpreter, with the script it runs."""
    UNIT = "unit"
    """Any program of the same systemd unit."""
    APP = "app"
    """Any program of the same Flatpak, Snap or container."""
    PARENT = "parent"
    """Any program that has the same parent program among its ancestors."""
    USER = "user"
    """Any program of the same user."""
    OWNER = "owner"
    """Whatever is of the same kind: the kernel itself, forwarded, or not known."""


class Where(StrEnum):
    """Where to; a question names those that make sense for it."""

    ANYWHERE = "anywhere"
    PORT = "port"
    """This protocol and destination port, at any address."""
    ADDRESS = "address"
    """This address, any port."""
    ADDRESS_PORT = "address-port"
    """This address, protocol and port."""
    NETWORK = "network"
    """The network around this address: /24 of IPv4, /64 of IPv6."""
    NETWORK_PORT = "network-port"
    """That network, this protocol and port."""
    HOST = "host"
    """The host of this name, any port; offered only where a single name is known."""
    HOST_PORT = "host-port"
    """The host of this name, this protocol and port."""
    DOMAIN = "domain"
    """The domain that this name is directly below, and all else below it; any port."""
    DOMAIN_PORT = "domain-port"
    """That domain, this protocol and port."""


ONCE, PROCESS, RESTART, FOREVER, UNTIL = "once", "process", "restart", "forever", "until"
"""For how long: for the flows that wait, and no rule; while the process lives; until the daemon
ends; until somebody revokes it; until a time, as in ``until 2030-06-30T18:00``. Or as many minutes
or hours from now as ``5m`` or ``8h`` says, a day at most."""


class Mode(StrEnum):
    """What becomes of a flow that has to be asked about."""

    ASK = "ask"
    """It is held, and somebody is asked."""
    ALLOW_SILENTLY = "allow-silently"
    """It goes out; what would have been asked is kept (`SilencedRequest`)."""
    DENY_SILENTLY = "deny-silently"
    """It is dropped; what would have been asked is kept."""


class Outcome(StrEnum):
    """How a question has ended."""

    ANSWERED = "answered"
    DISMISSED = "dismissed"
    UNANSWERED = "unanswered"
    """Its time was over."""
    RULES = "rules"
    """The rules, or the mode, have come to say what becomes of its flows."""
    GONE = "gone"
    """Those who sent have closed their connections."""
    STOPPING = "stopping"
    """The daemon stops."""


class RuleKind(StrEnum):
    """Where a rule comes from."""

    FILE = "file"
    """A person wrote it to a rule file: it cannot be changed over the protocol."""
    LASTING = "lasting"
    """An answer, kept in the daemon's own rule file."""
    TEMPORARY = "temporary"
    """An answer that the daemon forgets."""
