"""Relax passes: verbs that take a module and return one."""
