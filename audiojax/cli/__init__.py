"""The `audiojax` command."""
