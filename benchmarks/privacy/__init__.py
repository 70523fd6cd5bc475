"""How well drawn faces follow, hide and resemble real people, and what is left of those."""
