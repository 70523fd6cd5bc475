"""A frozen network that draws faces of people who do not exist, and what chooses whom it draws."""
