"""One module for each thing outside: the kernel's interfaces, files, sockets."""
