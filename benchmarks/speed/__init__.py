"""Speed of whole commands."""
