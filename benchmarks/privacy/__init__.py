"""How well drawn faces follow, hide and resemble real people: see the modules' docstrings."""
