"""The table and the flags of `audiojax bench`."""

import json

import pytest

from audiojax.bench import index, pair_denoiser, towers
from audiojax.bench.harness import Row
from audiojax.cli.bench import CASES, as_table, chosen
from audiojax.errors import AudiojaxError

OURS = Row("case", "audiojax", 500, 0.1, 0.09, 5000.0, 3, 3, 2.5, 300.0, "gpu", "NVIDIA H100")
TORCH = Row("case", "torch eager", 200, 0.64, 0.6, 312.5, 2, 4, 0.5, 200.0)


def test_the_table_has_a_line_per_row():
    table = as_table([OURS, TORCH])
    assert table.title == "case"
    assert [len(row) for row in table.rows] == [len(table.columns)] * 2
    assert [row[0] for row in table.rows] == ["audiojax", "torch eager"]
    assert table.rows[0][table.columns.index("quiet")] == "3/3"
    assert table.rows[0][-1] == "–"


@pytest.mark.parametrize(("ratio", "note", "shown"), [(16.0, "noisy", "16"), (None, "no ratio: 2 quiet samples", "–")])
def test_noisy_and_refused_ratios_are_named_below(ratio, note, shown):
    table = as_table([OURS, Row(**(TORCH.as_dict() | {"ratio": ratio, "note": note}))])
    assert table.rows[1][-1] == shown
    assert f"torch eager: {note}" in table.note


def test_the_note_names_the_device_of_both_sides():
    assert "Ran on: audiojax: NVIDIA H100; torch eager: cpu." in as_table([OURS, TORCH]).note.splitlines()


@pytest.mark.parametrize("samples", ["1", "2"])
def test_fewer_samples_than_a_ratio_needs_are_refused(audiojax, samples):
    code, out, err = audiojax("bench", "--no-torch", "--samples", samples)
    assert (code, out) == (2, "")
    assert f"--samples: must be a whole number from 3 up, not '{samples}'" in err


@pytest.fixture
def asked(monkeypatch):
    """What the cases are asked for, [(name, options)]; "cnn14" fails."""
    noted = []

    def run(name, **options):
        noted.append((name, options))
        if name == "cnn14":
            raise AudiojaxError("bench worker stopped")
        return [Row(**(OURS.as_dict() | {"case": name}))]

    monkeypatch.setattr(towers, "run", run)
    monkeypatch.setattr(pair_denoiser, "run", lambda **options: run("pair_denoiser", **options))
    monkeypatch.setattr("audiojax.cli.bench.find_spec", lambda name: True)
    return noted


def test_without_names_all_cases_run_and_a_group_stands_for_its_own():
    assert tuple(chosen([])) == CASES
    assert chosen(["llama_4", "bert", "llama"]) == ["llama_4", "bert", "llama_1", "llama_16"]


def test_a_case_that_fails_stops_no_other(audiojax, asked, tmp_path):
    code, out, err = audiojax("bench", "bert", "cnn14", "t5", "--json", str(tmp_path / "b.json"))
    assert code == 1
    assert [name for name, _ in asked] == ["bert", "cnn14", "t5"]
    assert "cnn14: bench worker stopped" in err
    assert "1 of 3 cases failed: cnn14" in err
    assert [row["case"] for row in json.loads((tmp_path / "b.json").read_text())] == ["bert", "t5"]


def test_forms_of_torch_join_the_eager_one_where_a_case_has_them(audiojax, asked):
    code, _, err = audiojax("bench", "unet", "bert", "pair_denoiser", "--torch-forms", "channels_last", "bfloat16", "eager")
    assert code == 0
    forms = {name: list(options["torch_forms"]) for name, options in asked}
    assert forms == {
        "unet": ["eager", "channels_last", "bfloat16"],
        "bert": ["eager", "bfloat16"],
        "pair_denoiser": ["eager", "bfloat16"],
    }
    assert "bert: has no torch channels_last" in err
    assert "unet: has no" not in err


def test_small_goes_to_every_case_and_what_is_asked_for_goes_before(audiojax, asked):
    code, out, _ = audiojax("bench", "pair_denoiser", "t5", "--small", "--steps", "7", "--no-torch")
    assert code == 0
    assert "t5 (small)" in out
    (_, pair), (_, tower) = asked
    assert (pair["steps"], pair["width"]) == (7, pair_denoiser.SMALL["width"])
    assert tower["small"] is True
    assert list(tower["torch_forms"]) == []


@pytest.mark.parametrize(("there", "words", "faiss"), [(True, [], True), (True, ["--no-torch"], False), (False, [], False)])
def test_the_index_is_searched_beside_faiss_where_it_is_installed(audiojax, monkeypatch, there, words, faiss):
    asked = []
    monkeypatch.setattr(index, "run", lambda **options: asked.append(options) or [OURS])
    monkeypatch.setattr("audiojax.cli.bench.find_spec", lambda name: there or None)
    code, _, err = audiojax("bench", "index", "--small", *words)
    assert code == 0
    assert (asked[0]["faiss"], asked[0]["rows"]) == (faiss, index.SMALL["rows"])
    assert ("index: faiss is not installed" in err) == (not there)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--torch-forms", "float32"], "invalid choice: 'float32'"),
        (["--torch-dtypes", "float32"], "there is no flag --torch-dtypes"),
        (["unett"], "there is no bench 'unett'; did you mean 'unet'?"),
    ],
)
def test_wrong_words_are_named(audiojax, words, message):
    code, out, err = audiojax("bench", *words)
    assert (code, out) == (2, "")
    assert message in err
