"""One small file per family of architectures; each ends in `FAMILIES`. `architectures/base.py` says how one is written."""
