"""Benchmarks; see README.md. Run them as modules from the repository root."""

import dp3_lightning as dp3_lightning  # first: makes torchvision importable beside any torch build
