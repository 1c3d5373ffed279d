"""nfsnitch: a per-process outbound firewall for Linux."""

__version__ = "0.1.0"
