"""Network namespaces, real services and real programs to try the firewall on."""
