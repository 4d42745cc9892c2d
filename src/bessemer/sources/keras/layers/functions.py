"""Functions called as layers."""
