"""By which suffixes files are taken for videos and pictures."""

_CONTAINERS = {".avi", ".flv", ".gif", ".mkv", ".mov", ".mp4", ".mxf", ".ogv", ".webm"}
_KIN_OF_MP4 = {".3g2", ".3gp", ".f4v", ".m4v", ".qt"}
_KIN_OF_AVI = {".asf", ".divx", ".dv", ".wmv"}
_MPEG = {".m2v", ".mpe", ".mpeg", ".mpg", ".vob"}
_TRANSPORT_STREAMS = {".m2t", ".m2ts", ".mts", ".tod", ".ts"}
VIDEO_SUFFIXES = frozenset(_CONTAINERS | _KIN_OF_MP4 | _KIN_OF_AVI | _MPEG | _TRANSPORT_STREAMS)
IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
