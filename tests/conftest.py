# Before anything that imports torchvision: see dp3_lightning/torchvision_compat.py.
import dp3_lightning  # noqa: F401
