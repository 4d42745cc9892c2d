"""Inputs, named closeness, the first value that differs, the verdict."""
