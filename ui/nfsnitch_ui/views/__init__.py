"""What the main window shows: connections, rules, history, and what was decided silently."""
