"""``make bench ARGS=flows``: what a firewall costs, beside none and the least that there can be."""
