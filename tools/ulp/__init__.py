"""How far every result is from the exact one. Started by tools/accuracy.py."""
