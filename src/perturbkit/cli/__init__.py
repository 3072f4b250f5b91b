"""The command line; every command imports its work late."""
