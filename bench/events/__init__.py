"""Figures of the events room, each a command."""
