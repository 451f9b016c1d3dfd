"""`audiojax weights`."""

import shutil

import pytest

import audiojax as package
from tests.pretrained.test_store import source  # noqa: F401  (a fixture)


def test_list_names_licences(audiojax):
    code, out, _ = audiojax("weights", "list")
    assert code == 0
    for words in ("laion/clap-htsat-unfused", "apache-2.0", "Cnn14_mAP=0.431.pth", "zenodo.org", "cc-by-nc-sa-4.0"):
        assert words in out


def test_list_cuts_nothing_off_where_there_is_little_room(audiojax, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = audiojax("weights", "list")
    assert code == 0
    assert "…" not in out
    names = "".join(line.split("  ")[0] for line in out.splitlines())  # a name that is too long goes on in the next line
    for entry in package.api.weights.CATALOG:
        assert entry.name in names


@pytest.mark.parametrize("folder", ["w[v2]/bert", "x[/b]y/bert"])
def test_brackets_in_a_name_are_shown(audiojax, source, tmp_path, folder):  # noqa: F811
    shutil.copytree(source[0], tmp_path / folder)
    code, out, err = audiojax("weights", "show", str(tmp_path / folder))
    assert (code, err) == (0, "")
    assert f"Weights {tmp_path / folder}\n" in out
    assert f"{folder}/model.safetensors" in "".join(line.strip() for line in out.splitlines())


def test_show_and_convert(audiojax, source, tmp_path):  # noqa: F811
    code, out, _ = audiojax("weights", "show", str(source[0]), "--tensors")
    assert code == 0
    for words in ("bert", "1,792", "37 used, 0 ignored", "hidden", "embeddings.LayerNorm.weight", "50x8"):
        assert words in out
    folder = tmp_path / "bert"
    code, out, _ = audiojax("weights", "convert", str(source[0]), "--out", str(folder), "--dtype", "bfloat16")
    assert (code, out.strip()) == (0, str(folder))
    assert package.load_pretrained(folder, progress=False).config.width == 8
    public = tmp_path / "public"
    code, out, _ = audiojax("export", "--workdir", str(folder), "--out", str(public), "--format", "safetensors")
    assert (code, out.strip()) == (0, str(public))
    assert package.load_pretrained(public, progress=False).config.width == 8
    code, _, err = audiojax("export", "--workdir", str(public), "--out", str(tmp_path / "again"), "--format", "safetensors")
    assert (code, "holds public weights, no run of ours" in err) == (2, True)


def test_misuse_is_named(audiojax, source, tmp_path):  # noqa: F811
    for words, said in (
        (("show", str(tmp_path / "nothing")), "no such file or folder"),
        (("show", "owner/unknown"), "not in the hub cache"),
        (("fetch", str(source[0])), "is here already, and is no name on the hub"),
        (("fetch", "owner/unknown"), "cannot be downloaded while HF_HUB_OFFLINE is set"),
        (("show", str(source[0]), "--set", "heads"), "--set takes KEY=VALUE"),
        (("show", str(source[0]), "--set", "part=unet"), "--set part: has a flag of its own, --part"),
        (("show", str(source[0]), "--set", "sha256=1"), "--set sha256: has a flag of its own, --sha256"),
        (("show", str(source[0]), "--set", "digest=1"), "--set digest: no checkpoint has such an option; there are bands, heads"),
        (("show", str(source[0]), "--set", "dtype=float16"), "--set dtype: no checkpoint has such an option"),
        (("show", str(source[0]), "--set", "name=bert"), "--set name: no checkpoint has such an option"),
        (("show", str(source[0]), "--set", "bands=8"), "this kind of checkpoint has no option 'bands'"),
        (("convert", str(source[0]), "--out", f"{tmp_path}/o", "--set", "dtype=float16"), "--set dtype: has a flag of its own, --dtype"),
        (("convert", str(source[0]), "--out", f"{tmp_path}/o", "--set", "out=x"), "--set out: has a flag of its own, --out"),
        (("convert", str(source[0]), "--out", f"{tmp_path}/o", "--set", "licence=mit"), "--set licence: no checkpoint has such an option"),
        (("convert", str(source[0]), "--out", f"{tmp_path}/o", "--revision", "x"), "is here already; 'revision' is for a name on the hub"),
        (("convert", str(source[0]), "--out", str(source[0])), "holds something already"),
        (("convert", str(source[0])), "--out"),
    ):
        code, _, err = audiojax("weights", *words)
        assert code == 2
        assert said in err
        assert err.count("\n") <= 2
