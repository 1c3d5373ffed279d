"""Scenarios: a network, rules, steps and what is expected of the firewall, written as YAML."""
