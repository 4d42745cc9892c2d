"""Architectures of checkpoints as data: names, layouts and settings of Hugging Face and of GGUF, from one table each."""
