"""Functions called as layers, in NumPy."""
