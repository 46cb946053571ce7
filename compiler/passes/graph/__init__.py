"""Calls of the program that follow each other become calls of one function each."""
