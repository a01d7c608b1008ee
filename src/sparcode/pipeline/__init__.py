"""Composition: configuration -> objects; one file for each command. No algorithm lives here."""
