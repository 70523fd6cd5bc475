"""The commands of ``dp3`` and ``lightning run``, one file each."""
