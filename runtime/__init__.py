"""What the machine does: simulator, sessions, results."""
