"""Spellings of what a user asks for: target specifications and shapes on the command line."""
