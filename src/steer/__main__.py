"""`python -m steer` is the command line."""

from steer.cli import main

if __name__ == "__main__":
    main()
