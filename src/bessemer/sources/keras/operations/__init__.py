"""Functions that models call between layers, whichever library's name they go by."""
