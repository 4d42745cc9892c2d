"""Weights of a known architecture found again in a graph, by what the graph does with them: names do not count."""
