"""One function for each operator, in families."""
