"""What the host's part of a model costs: read from its code once it is lowered."""
