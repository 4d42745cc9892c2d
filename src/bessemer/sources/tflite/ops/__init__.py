"""Readers of TFLite operators, by family: one decorated function per operator."""
