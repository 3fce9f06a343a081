"""`python -m keyhinge_cli`: the same as `keyhinge`."""

from keyhinge_cli import main

if __name__ == "__main__":
    main()
