"""Frontends: models of other tools to Relax modules."""
