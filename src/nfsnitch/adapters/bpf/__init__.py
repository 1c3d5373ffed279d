"""The eBPF side: loading the object from bpf/, attaching its programs, reading its maps."""
