"""Describing sounds: captioners, tables of captions, and the scores of captions."""
