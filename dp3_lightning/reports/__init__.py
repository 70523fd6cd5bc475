"""Pages for people: self-contained HTML without network; a script only to start players at once."""
