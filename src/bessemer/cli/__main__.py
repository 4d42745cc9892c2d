"""`python -m bessemer.cli`."""

from bessemer.cli.main import main

main()
