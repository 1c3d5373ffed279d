"""The desktop program of nfsnitch: it asks a person, and shows what is decided.

An unprivileged client of the daemon; of that it knows `nfsnitch.protocol` and nothing else.
"""
