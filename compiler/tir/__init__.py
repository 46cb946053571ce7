"""Operators as tensor expressions, their schedules and intrinsics."""
