"""Bytes to plain records and back; bounded; knows no graphs."""
