"""Write self-contained HTML pages; their only script starts players together."""
