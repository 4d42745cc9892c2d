"""numpy's .npz with settings and tokenizer beside it."""
