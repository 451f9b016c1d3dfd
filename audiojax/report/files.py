"""Where `write_whole` is found from the report's floor up; it lives in `audiojax.files`."""

from audiojax.files import write_whole

__all__ = ["write_whole"]
