"""Directories of Hugging Face: weights in safetensors, settings and tokenizer."""
