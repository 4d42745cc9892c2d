"""Ollama: a GGUF file with its Modelfile, and on request its place in a local Ollama store."""
