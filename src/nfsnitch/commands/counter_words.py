"""What each counter means, for people."""

from __future__ import annotations

from nfsnitch.core.counters import Counter

GROUPS: dict[str, dict[Counter, str]] = {
    "decided": {
        Counter.PACKETS: "reached the worker",
        Counter.ACCEPTED: "packets went out",
        Counter.DROPPED: "packets were dropped in silence",
        Counter.REJECTED: "packets were refused aloud",
        Counter.REPEATED: "packets of a flow decided a moment before; not recorded again",
        Counter.CACHED: "packets that the kernel answered for by itself",
        Counter.TRUSTED: "flows whose further packets pass in the kernel",
        Counter.UNATTRIBUTED: "flows of which nobody could tell the owner",
    },
    "sockets past netfilter": {
        Counter.OPENINGS: "were opened",
        Counter.OPENINGS_REFUSED: "were refused by a rule",
        Counter.OPENINGS_LOST: "were opened or refused, and no record could be made",
        Counter.OPENING_ERRORS: "times they could not be listed",
    },
    "held for an answer": {
        Counter.HELD: "flows were held",
        Counter.JOINED: "further packets of held flows",
        Counter.ASKED: "questions were asked",
        Counter.ANSWERED: "flows were decided by an answer",
        Counter.ANSWERED_LATE: "answers came when the question had ended",
        Counter.DISMISSED: "flows whose question was dismissed",
        Counter.GONE: "flows whose program gave up first",
        Counter.UNANSWERED: "flows that nobody answered in time",
        Counter.STOPPING: "flows cut short by the daemon's stop",
        Counter.HELD_LIMIT: "flows or packets more than may be held: unanswered at once",
        Counter.SILENCED: "flows were decided in silence: the mode said so",
        Counter.SILENCED_FORGOTTEN: "questions forgotten that the mode had kept from being asked",
    },
    "lost, or refused without being judged": {
        Counter.MALFORMED: "packets whose headers could not be read: dropped",
        Counter.ERRORS: "packets on which the daemon failed: dropped",
        Counter.VERDICT_ERRORS: "verdicts that the kernel did not take",
        Counter.QUEUE_DROPPED: "packets dropped by the kernel: the queue was full",
        Counter.QUEUE_USER_DROPPED: "packets dropped by the kernel: the worker's socket was full",
        Counter.NETLINK_OVERRUNS: "times the worker's socket had been full",
        Counter.UNHEARD: "packets dropped by the kernel: no worker listened, or it ended",
        Counter.CAUGHT: "packets that came out of the queue unjudged: dropped",
        Counter.BYPASSED: "packets that left unjudged, as 'fail: open' has it",
    },
    "programs": {
        Counter.UNIDENTIFIED: "flows refused: a rule asks for a hash that could not be told",
        Counter.PROGRAMS_HASHED: "files of programs were read whole",
        Counter.PROGRAMS_NOT_HASHED: "programs not read: too many waited, or it failed",
        Counter.PROGRAMS_TOO_LARGE: "times a program was too large to be read",
        Counter.PROGRAMS_CHANGED: "times a changed program was let out",
        Counter.PROGRAMS_FULL: "times a program could not be noted: there is no room",
        Counter.PACKAGE_ERRORS: "times the package manager's files could not be read",
    },
    "names": {
        Counter.NAMES_LEARNED: "names of addresses that programs were told",
        Counter.NAMES_FORGOTTEN: "names forgotten: there was no room",
        Counter.NAMES_UNOWNED: "answers of which nobody could tell whose they were",
        Counter.DNS_UNASKED: "DNS answers that fit no question: left alone",
        Counter.DNS_MALFORMED: "DNS messages and names that could not be read: left alone",
        Counter.DNS_FORGOTTEN: "DNS questions and connections forgotten: there was no room",
        Counter.NAMES_AWAITED: "connections let out until they have data: that may say the name",
        Counter.NAMES_READ: "flows whose first data said the name that a rule needed",
        Counter.NAMES_NOT_READ: "flows whose first data did not say it",
        Counter.NAMES_IN_PIECES: "pieces of first data dropped, to be sent again with the rest",
        Counter.QUESTIONS_REFUSED: "DNS questions refused",
        Counter.QUESTIONS_MALFORMED: "DNS questions refused that could not be read",
        Counter.QUESTIONS_LOCAL: "DNS questions that stayed on this machine, and may",
        Counter.ANSWERS_SENT: "answers of our own: no such name, or a reset for a server",
        Counter.ANSWERS_LOST: "of these, those that could not be sent",
    },
    "not known, or not kept": {
        Counter.TRUST_ERRORS: "flows that could not be trusted: their packets are all judged",
        Counter.SOCK_DIAG_ERRORS: "times the kernel's socket tables could not be asked",
        Counter.PROC_LIMITED: "look-ups in /proc not made: too many at once",
        Counter.COUNTER_ERRORS: "times the kernel's own counters could not be read",
        Counter.CLOCK_JUMPS: "times the wall clock was set, or the machine slept",
        Counter.OWNERS_FULL: "sockets without an owner: the map was full",
        Counter.IMAGES_FULL: "processes without a description: the map was full",
        Counter.RELEASES_LOST: "closed sockets that nobody heard of in time",
        Counter.CACHED_LOST: "packets queued since nobody read what the kernel answered for",
        Counter.NAMES_LOST: "names asked for or answered that nobody read in time",
        Counter.NAMES_UNASKED: "DNS answers that nobody had asked for",
        Counter.RECORDS_DROPPED: "records that their reader was too slow to take",
        Counter.WATCH_DROPPED: "records that a watching client was too slow to take",
    },
    "lists": {
        Counter.LISTS_RENEWED: "times a list was new or had changed",
        Counter.LISTS_FAILED: "times a list could not be brought up to date",
        Counter.LISTS_SPOILED: "compiled lists that the disk had spoiled: compiled again",
    },
    "change of rules": {
        Counter.RELOADS: "times the rules were read again",
        Counter.RELOADS_REFUSED: "times they were not: something was wrong with them",
        Counter.FLOWS_CUT: "flows under way that the rules came to refuse: cut",
        Counter.SOCKETS_SPARED: "of these, those whose socket the kernel could not close",
        Counter.CUT_ERRORS: "flows that could not be cut",
        Counter.REVIEW_ERRORS: "times the flows under way could not all be listed",
    },
    "control socket": {
        Counter.CONTROL_REFUSED: "connections and requests refused",
        Counter.CONTROL_SLOWED: "requests that had to wait: one user's came too quickly",
        Counter.CONTROL_ACCEPT_ERRORS: "times nobody could be let in: out of descriptors or memory",
        Counter.CONTROL_ERRORS: "requests on which the daemon failed",
    },
}
"""Heading → counter → what it counts."""

OTHERS = "others"
"""Heading for counters that this version does not know: the daemon may be a later one."""
