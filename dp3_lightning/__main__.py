"""``python -m dp3_lightning`` is the same as the ``dp3`` command."""

from dp3_lightning.cli import main

if __name__ == "__main__":
    main()
