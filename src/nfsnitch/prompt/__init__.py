"""The terminal prompter: questions of the daemon, and a person's answers to them.

`session` and `prompter` are the prompter without its terminal: they hear what the daemon says and
which keys are pressed, and know what is to be seen. `screen` shows that on a terminal, `dialogue`
line by line, and `json_lines` does without it all.
"""
