"""Tokenizers: read from the files of Hugging Face, SentencePiece and GGUF, written back, and proven equal."""
