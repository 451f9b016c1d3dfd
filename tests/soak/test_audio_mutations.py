"""The audio soak at a size for the default tests."""

from tests.soak.audio_mutations import DAMAGE, HANG_SECONDS, soak


def test_damaged_files_never_crash_hang_or_go_unnamed(tmp_path):
    table, slowest = soak(tmp_path, 48)
    assert sum(counts.total() for counts in table.values()) == 48
    assert set(table) == {damage.__name__ for damage in DAMAGE}
    assert slowest < HANG_SECONDS + 1
    assert set(table["truncate"]) <= {"truncated", "empty", "undecodable", "same"}  # never a shorter sound
