"""`python -m dojo` is the `dojo` command."""

from dojo.cli.app import main

if __name__ == "__main__":
    main()
