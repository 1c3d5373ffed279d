"""The pure part: packets, flows, owners, rules, decisions, the engine. No I/O, no clock, no OS."""
