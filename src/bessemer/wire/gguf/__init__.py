"""GGUF files and the tensor types that they hold: bytes <-> plain records, bounded."""
