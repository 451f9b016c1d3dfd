"""Tables of captions: what belongs together is brought together whatever the layout, what does not is named, and nothing is misaligned."""

import csv

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audiojax import api
from audiojax.api.describing.caption_pairs import read_pairs
from audiojax.errors import UsageError
from audiojax.metrics.captions.scores import diversity_scores, score_captions

REFERENCES = "file_name,caption_1,caption_2\na.wav,a dog barks loudly,the dog barks\nb.wav,rain falls on a roof,\nc.wav,wind blows,a wind\n"
CAPTIONS = "file,caption\nc.wav,wind blows hard\na.wav,a dog barks\nb.wav,rain falls\n"


@pytest.fixture
def tables(tmp_path):
    """tables(captions, references) -> their two files."""

    def write(captions=CAPTIONS, references=REFERENCES, name="references.csv"):
        paths = tmp_path / "captions.csv", tmp_path / name
        for path, text in zip(paths, (captions, references), strict=True):
            path.write_text(text, encoding="utf-8")
        return paths

    return write


def test_scores_are_those_of_the_captions_in_the_order_of_the_references(tables):
    found = api.score(*tables(), progress=False)
    said = ["a dog barks", "rain falls", "wind blows hard"]
    direct = score_captions(said, [["a dog barks loudly", "the dog barks"], ["rain falls on a roof"], ["wind blows", "a wind"]])
    assert found.scores == pytest.approx(dict(direct.corpus) | diversity_scores([[text] for text in said]))
    for name, values in direct.per_clip.items():
        np.testing.assert_allclose(found.per_clip[name], values)
    assert [row["id"] for row in found.rows()] == ["a", "b", "c"]
    assert [row["caption"] for row in found.rows()] == said
    assert (found.card["clips"], found.card["references a clip"], found.card["left out or empty"]) == (3, "1 to 2", "nothing")


@pytest.mark.parametrize(
    ("captions", "references"),
    [
        ("id,caption\nc,wind blows hard\na,a dog barks\nb,rain falls\n", REFERENCES),
        ("audio\tcaption\n/data/x/c.flac\twind blows hard\n/data/x/a.flac\ta dog barks\n/data/x/b.flac\train falls\n", REFERENCES),
        ("file,start,end,candidate,caption\na.wav,0,4,0,a dog barks\nb.wav,0,4,0,rain falls\nc.wav,0,4,0,wind blows hard\n", REFERENCES),
        (
            CAPTIONS,
            "audio,text\na,a dog barks loudly\nb,rain falls on a roof\na,the dog barks\nc,wind blows\nc,a wind\n",
        ),
        ("\ufeff" + CAPTIONS.replace("\n", "\r\n"), REFERENCES.replace(",", ";").replace("_", " ")),
    ],
)
def test_layouts_mean_the_same(tables, captions, references):
    plain, other = read_pairs(*tables()), read_pairs(*tables(captions, references))
    assert other.faults == ()
    assert [list(own) for own in other.candidates] == [list(own) for own in plain.candidates]
    assert [sorted(own) for own in other.references] == [sorted(own) for own in plain.references]


def test_audiocaps_clips_go_by_video_number_or_file(tables):
    references = (
        "audiocap_id,youtube_id,start_time,caption\n"
        "11,abcdefghijk,30,a dog barks\n12,abcdefghijk,30,a dog\n13,-_34567890a,0,rain falls\n14,-_34567890a,0,rain\n"
    )
    expected = [["a dog barks", "a dog"], ["rain falls", "rain"]]
    for captions in (
        "audiocap_id,caption\n13,it rains\n12,it barks\n",
        "youtube_id,caption\n-_34567890a,it rains\nabcdefghijk,it barks\n",
        "file_name,caption\nY-_34567890a.wav,it rains\nYabcdefghijk.wav,it barks\n",
    ):
        pairs = read_pairs(*tables(captions, references, "audiocaps_test.csv"))
        assert pairs.faults == ()
        assert [list(own) for own in pairs.references] == expected
        assert [list(own) for own in pairs.candidates] == [["it barks"], ["it rains"]]
    numbers = "audiocap_id,caption\n11,a dog barks\n13,rain falls\n"
    assert read_pairs(*tables(numbers, numbers)).ids == ("11", "13")


@pytest.mark.parametrize(
    "captions",
    [
        "id,candidate,caption\na,1,a cat\nb,1,hail\nc,1,storm\nc,0,wind blows hard\nb,0,rain falls\na,0,a dog barks\n",
        "id,caption_1,caption_2\na,a dog barks,a cat\nb,rain falls,hail\nc,wind blows hard,storm\n",
    ],
)
def test_several_candidates_are_measured_for_diversity_and_the_first_is_scored(tables, captions):
    found = api.score(*tables(captions), progress=False)
    assert [row["caption"] for row in found.rows()] == ["a dog barks", "rain falls", "wind blows hard"]
    expected = diversity_scores([["a dog barks", "a cat"], ["rain falls", "hail"], ["wind blows hard", "storm"]])
    assert {"div_1", "div_2", "mbleu_4"} <= set(expected)
    assert {name: found.scores[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("captions", "kind", "message"),
    [
        (CAPTIONS.replace("b.wav,rain falls\n", ""), "missing", r"1 clips without a caption \(b\)"),
        (CAPTIONS + "z.wav,a siren\n", "unknown", r"1 captions of clips without references \(z\)"),
        (CAPTIONS + "a.wav,a cat\n", "duplicate_id", r"1 second captions of a clip, without a column 'candidate' \(a\)"),
        (CAPTIONS.replace("rain falls", " "), "empty_caption", r"1 empty captions \(captions.csv:4\)"),
        (CAPTIONS + "a,b,c,d\n", "bad_row", r"1 rows that cannot be read \(captions.csv:5\)"),
        (CAPTIONS.replace("b.wav", "other/b.wav").replace("a.wav", "x/a.wav"), None, None),
    ],
)
def test_what_does_not_fit_is_named_and_never_misaligned(tables, captions, kind, message):
    paths = tables(captions)
    pairs = read_pairs(*paths)
    assert [fault.kind for fault in pairs.faults] == ([kind] if kind else [])
    whole = {"a": "a dog barks", "b": "rain falls", "c": "wind blows hard"}
    for name, own in zip(pairs.ids, pairs.candidates, strict=True):
        assert list(own) == [whole[name] if (name, kind) != ("b", "empty_caption") else ""]
    if kind is None:
        return
    with pytest.raises(UsageError, match=message):
        api.score(*paths, progress=False)
    found = api.score(*paths, allow_missing=True, progress=False)
    assert len(found.rows()) == (2 if kind == "missing" else 3)
    assert kind != "empty_caption" or found.per_clip["rouge_l"][1] == 0


def test_many_faults_are_counted_and_the_first_named(tables):
    rows = "".join(f"{i}.wav,a dog\n" for i in range(9))
    with pytest.raises(UsageError, match=r"9 captions of clips without references \(0, 1, 2, \.\.\.\)"):
        api.score(*tables(CAPTIONS + rows), progress=False)


@pytest.mark.parametrize("end", [("d/a", "e/a"), ("d/a", "d/e/a")])
def test_a_name_that_may_be_two_clips_is_none_of_them(tables, end):
    references = "file,caption\n" + "".join(f"{name}.wav,a dog barks\n" for name in end) + "b.wav,rain\n"
    pairs = read_pairs(*tables("file,caption\na.wav,a dog\nb.wav,rain\n", references))
    assert list(pairs.ids) == ["b"]
    assert sorted(fault.kind for fault in pairs.faults) == ["missing", "missing", "unknown"]


def test_unusable_files_and_metrics(tables, tmp_path):
    with pytest.raises(UsageError, match="no clip in common: 'x' here, 'a' there"):
        api.score(*tables("id,caption\nx,a dog\n"), progress=False)
    with pytest.raises(UsageError, match="must name columns"):
        api.score(*tables("id,words\nx,a dog\n"), progress=False)
    with pytest.raises(UsageError, match="must name columns"):
        api.score(*tables(""), progress=False)
    with pytest.raises(UsageError, match="no_such.csv: cannot be read"):
        api.score(tmp_path / "no_such.csv", tables()[1], progress=False)
    with pytest.raises(UsageError, match="there is no metric 'ciderd'; known are bleu"):
        api.score(*tables(), metrics=("bleu", "ciderd"), progress=False)


def test_only_what_is_asked_for_is_measured(tables):
    assert set(api.score(*tables(), metrics=("rouge_l",), progress=False).scores) == {"rouge_l"}
    assert set(api.score(*tables(), metrics=("bleu", "bleu"), progress=False).scores) == {f"bleu_{n}" for n in (1, 2, 3, 4)}


@settings(max_examples=15)
@given(order=st.permutations(range(6)), texts=st.lists(st.text(st.characters(codec="utf-8"), max_size=20), min_size=6, max_size=6))
def test_the_order_of_rows_changes_nothing(tmp_path_factory, order, texts):
    folder = tmp_path_factory.getbasetemp()

    def written(name, rows):
        with (folder / name).open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("id", "caption"), *rows])
        return folder / name

    references = written("references.csv", [(f"clip{i}", f"a dog barks {i} times") for i in range(6)])
    rows = [(f"clip{i}", text) for i, text in enumerate(texts)]
    plain = read_pairs(written("a.csv", rows), references)
    mixed = read_pairs(written("b.csv", [rows[i] for i in order]), references)
    assert (plain.ids, plain.candidates) == (mixed.ids, mixed.candidates)
    assert len(plain.ids) == 6
