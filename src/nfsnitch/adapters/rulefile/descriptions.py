"""What each key of a rule file means, in a sentence or two: for the JSON Schema and the man page.

Apart from the tables of fields and settings, which say how a key is read, so that those stay short.
A test holds that whatever stands in the tables is described here.
"""

from __future__ import annotations

TOP_LEVEL = {
    "version": "The version of the rule language. There is only 1.",
    "timeouts": "How long things may take.",
    "limits": "How much may be kept in memory.",
    "names": "How names of hosts are come by.",
    "lists": "Lists of domains and networks, in files or at URLs, under names of their own.",
    "groups": "Names for what rules name often; a group may contain other groups.",
    "rules": "The rules in order. The first one that matches decides; all fields of a rule must "
    "match.",
}
SETTINGS = {
    "default": "What becomes of a connection that no rule matches.",
    "unattributed": "What becomes of a connection that no rule matches while nobody can say whose "
    "it is.",
    "unanswered": "What becomes of a connection that was asked about and that nobody answered in "
    "time.",
    "fail": "What becomes of a packet that nobody evaluates, since no daemon runs or its queue is "
    "full: closed drops it, open lets it leave.",
    "loopback": "Whether traffic that stays on this machine is judged.",
    "queue_length": "How many packets may wait in the kernel: from 16 to 1048576.",
    "reject_mark": "The packet mark of what is to be refused, between two chains of ours.",
    "queue_bit": "The bit of the packet mark of what is to be judged, between two chains of ours.",
    "label": "The conntrack label of flows that pass in the kernel: from 0 to 127.",
    "ask": "How long a connection is held for an answer: from 100ms to 1h.",
    "hang": "How long a daemon may be stuck before it ends itself: from 3s to 1h.",
    "held_flows": "How many flows may wait for an answer.",
    "held_flows_of_program": "How many of these may be one program's, of one user.",
    "packets_of_held_flow": "How many packets of one such flow wait with it.",
    "decided_flows": "How many last decisions are remembered.",
    "trusted_flows": "How many flows pass in the kernel at once.",
    "names": "How many names of addresses are known at once.",
    "names_of_process": "How many of these may be names that one process has asked for.",
    "on_unknown_name": "What becomes of a connection where it cannot be told whether a rule's host "
    "or list matches, and all its other fields do, if the rule does not say so itself: skip passes "
    "the rule by.",
    "first_data": "Whether the server's name is read from a connection's first data (TLS, QUIC, "
    "HTTP) where a rule needs it and no answer of DNS gave it.",
    "libc": "Whether it is heard what the C library answers programs that ask it for addresses.",
    "keep": "How long a name counts after the time for which its answer said it would hold: up to "
    "24h.",
}
HEAD = {
    "name": "What the rule is called. Unique over all files: records name the rule that decided.",
    "action": "What happens: allow lets the connection out, deny drops its packets in silence, "
    "reject tells the program at once, ask holds the first packet until somebody answers.",
    "enabled": "false puts the rule out of force and keeps it in the file.",
    "note": "Why there is this rule; for people.",
    "expires": "When the rule ceases to hold: a day or a moment, with its offset from UTC or in "
    "local time.",
    "on_unknown_name": "What becomes of a connection where it cannot be told whether host or list "
    "matches, since no name is known or several are, and all other fields do: skip passes the rule "
    "by.",
    "dns": "What becomes of the question for a name that this rule refuses: refuse answers that "
    "there is no such name, drop never answers.",
}
LISTS = {
    "file": "The whole path of a file.",
    "url": "Where it is fetched from: a URL of http or https.",
    "format": "How its lines are to be read; auto goes by how they look.",
    "refresh": "How often to look for a newer one: from 10m to 90d.",
    "sha256": "The SHA-256 of the only text that is taken.",
}
GROUPS = {
    "addresses": "Addresses, blocks and ranges.",
    "ports": "Ports, ranges of ports and services.",
    "programs": "Paths and globs of programs.",
    "users": "Users, by name or by number.",
    "usergroups": "Groups of users, by name or by number.",
    "hosts": "Names of hosts, and *. with a name for all below it.",
}
FIELDS = {
    "owner": "What kind of owner the connection has: kernel for what the kernel sends itself, "
    "forwarded for what it passes on for other machines, unknown for what nobody can tell the "
    "owner of. No other field matches an unknown owner.",
    "family": "The address family.",
    "proto": "The transport protocol, by name or by number from 0 to 255. packet and xdp are none: "
    "rules with them are asked when a socket past netfilter is opened.",
    "dport": "The port there: a number, a range with both ends, or the name of a service. "
    "Connections without ports are matched by no dport, not by not: either.",
    "daddr": "Where the connection goes: an address, a block, a range with both ends, or a group. "
    "IPv4 addresses match IPv4 alone.",
    "uid": "The user who owns the process, by number.",
    "user": "The user who owns the process, by name. Looked up once, when the file is read; a "
    "user that the machine does not have is nobody.",
    "exe": "The program's file: its absolute path with all symlinks resolved, or a glob. * and ? "
    "stop at a /, ** does not.",
    "exe_inside": "The program's file as a program in a mount namespace of its own sees it, such "
    "as a container's, where that is another path. Whoever makes the namespace chooses it.",
    "parent": "The program of any ancestor: the parent, its parent, and so on. Takes what exe "
    "takes.",
    "saddr": "Where the connection comes from: an address of this machine; takes what daddr takes.",
    "sport": "The port here; takes what dport takes.",
    "iface": "The interface through which the packet would leave, or a glob.",
    "iface_in": "The interface by which a forwarded packet came, or a glob.",
    "gid": "The group of the process, by number.",
    "group": "The group of the process, by name. Looked up once, when the file is read; a group "
    "that the machine does not have is nobody's.",
    "pid": "The process, by its number. Of use for a rule that lives no longer than the process.",
    "netns": "The network namespace that the process is in.",
    "schedule": "Days of the week, hours or both, in local time.",
    "comm": "The name of the thread, of 15 bytes at most, or a glob. A process chooses it.",
    "cgroup": "The path of the process's cgroup, or a glob.",
    "unit": "The systemd unit that the process belongs to, or a glob.",
    "app": "The Flatpak, Snap or container that the process belongs to.",
    "pod": "The pod that the process belongs to: of Kubernetes by UID, of Podman by ID; or a glob.",
    "package": "The package that the program's file belongs to, without its architecture, or a "
    "glob; none for a file of no package.",
    "changed": "Whether the program is another file than the one whose connection was last let "
    "out under its path.",
    "sha256": "The SHA-256 of the program's file. While that is not known, a rule whose other "
    "fields match refuses the connection.",
    "script": "The file that an interpreter runs: an absolute path or a glob.",
    "host": "The name by which the address was looked for, or *. and a name for all below it. It "
    "must be known, and if several are, all must match.",
    "list": "A list that has the name, a name above it, a name that it is an alias of, or the "
    "address.",
    "args": "A regular expression (RE2), searched in the arguments joined by one space, argv[0] "
    "first. A process chooses its arguments.",
}
