"""Rules tried on what has been: on the flows of a capture, or on recorded decisions. Offline."""
