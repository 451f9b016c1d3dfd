"""`audiojax weights`."""

import audiojax as package
from tests.pretrained.test_store import source  # noqa: F401  (a fixture)


def test_list_names_licences(audiojax):
    code, out, _ = audiojax("weights", "list")
    assert code == 0
    for words in ("laion/clap-htsat-unfused", "apache-2.0", "Cnn14_mAP=0.431.pth", "zenodo.org", "cc-by-nc-sa-4.0"):
        assert words in out


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
        (("convert", str(source[0]), "--out", str(source[0])), "holds something already"),
        (("convert", str(source[0])), "--out"),
    ):
        code, _, err = audiojax("weights", *words)
        assert code == 2
        assert said in err
        assert err.count("\n") <= 2
