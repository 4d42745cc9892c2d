"""Architectures of checkpoints as data: names, layouts and settings of Hugging Face and of GGUF, from one table each.

A family is one small file in `families/`; `base.py` says how it is written. Both directions come from the one declaration.
"""
