"""Pass 1: who is where in a video; no pixel changes."""
