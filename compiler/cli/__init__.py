"""The command `microscopiq`: one file per command, and what they print."""
