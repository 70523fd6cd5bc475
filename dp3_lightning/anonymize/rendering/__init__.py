"""Pass 2: draw every planned face, or blur it."""
