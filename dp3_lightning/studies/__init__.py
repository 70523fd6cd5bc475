"""Make the shipped weights and their data; no other package imports this one."""
