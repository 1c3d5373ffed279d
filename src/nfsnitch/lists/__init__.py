"""Lists that others keep: read line by line, compiled once, and asked where they lie.

Everything here is pure: text comes as bytes, compiled lists go and come as bytes. Files, the
network and processes are for `nfsnitch.adapters.lists`.
"""
