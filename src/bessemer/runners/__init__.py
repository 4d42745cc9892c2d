"""Execute a model in a real runtime. One file per runtime; modules are imported only where used."""
