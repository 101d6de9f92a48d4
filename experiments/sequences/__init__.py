"""Sequences, language and structure: lectures A to D."""
