"""Graph to graph. One file per pass or rule family."""
