"""The soak of weight files at a size for the default tests."""

from tests.soak.weight_mutations import DAMAGE, HOSTILE, soak


def test_damaged_weight_files_never_run_code_crash_or_go_unnamed(tmp_path):
    table, reasons, _ = soak(tmp_path, 42)
    assert sum(counts.total() for counts in table.values()) == 42
    assert set(table) == {damage.__name__ for damage in DAMAGE + HOSTILE}
    assert reasons.total() > 20
