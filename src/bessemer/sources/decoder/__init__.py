"""The bridge from weights to a graph: a causal decoder drawn from its architecture's table, without its framework."""
