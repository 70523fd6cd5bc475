"""Run ``dp3`` as ``python -m dp3_lightning``."""

from dp3_lightning.cli.main import main

if __name__ == "__main__":
    main()
