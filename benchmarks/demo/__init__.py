"""How the demo's models were made."""
