"""What the subcommands do that need no daemon; `nfsnitch.cli` says how they are called."""
