"""One file per algorithm; each cites its paper."""
