"""Rules of other firewalls read as ours, and ours written as theirs.

Pure: texts and rules in, texts and a report out. What the other side cannot say is reported, and
nothing is dropped in silence; files are the commands' business.
"""
