import sys
from pathlib import Path

# Test files here share `numbered_clips`, which pytest's importlib mode does not put on the path.
sys.path.insert(0, str(Path(__file__).parent))
