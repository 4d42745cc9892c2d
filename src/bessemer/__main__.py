"""`python -m bessemer` is the command line."""

from bessemer.cli.main import main

if __name__ == "__main__":
    main()
