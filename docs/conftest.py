"""What of this folder pytest leaves alone when it executes the pages' examples."""

# A finished example has tests of its own, which run where it is installed.
collect_ignore_glob = ["examples/*/tests/*", "examples/*/noxfile.py"]
