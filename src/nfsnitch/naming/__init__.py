"""Who has asked for which name, and to which addresses the answers led.

Pure: what the kernel has seen goes in (`core.name_sample`), names come out (`core.name`).
"""
