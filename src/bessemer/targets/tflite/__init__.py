"""Canonical graph to .tflite: records laid out per value, written directly from the schema."""
