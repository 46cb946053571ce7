"""Schedules as data: what a tile may be, and what it would take."""
