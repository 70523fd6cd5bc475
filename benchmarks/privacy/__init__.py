"""What is left of real people in the output."""
