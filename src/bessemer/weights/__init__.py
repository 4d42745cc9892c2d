"""Work on lazy tensors: views that stay lazy, and writing many of them in bounded memory on all cores."""
