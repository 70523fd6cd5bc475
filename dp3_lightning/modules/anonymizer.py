"""Provide the old path of ``dp3_lightning.anonymize.lightning``, which users' YAML may name."""

from dp3_lightning.anonymize.lightning import Anonymizer, FilePairs, MediaFiles

__all__ = ["Anonymizer", "FilePairs", "MediaFiles"]
