"""Shapes and places: nothing is computed but where an element goes."""
