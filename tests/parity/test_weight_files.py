"""Files that torch writes, read without it: the same values as torch's own reader gives."""

import argparse

import numpy as np
import pytest

from audiojax.pretrained.reading import open_weights

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.parity


def saved_model():
    """State dict of a small network with every kind of tensor beside it."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Linear(4, 5))
    base = torch.randn(6, 8)
    return network.state_dict() | {
        "parameter": torch.nn.Parameter(base),
        "transposed": base.t(),
        "view": base[1:5:2, 2:6],
        "permuted": torch.randn(2, 3, 4).permute(2, 0, 1),
        "expanded": torch.arange(7).expand(1, -1),
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 3),
        **{f"as {dtype}": base.mul(9).to(dtype) for dtype in (torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32)},
        **{f"as {dtype}": base.mul(9).to(dtype) for dtype in (torch.int16, torch.int8, torch.bool, torch.complex64)},
        "as uint8": base.abs().to(torch.uint8),
    }


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
def test_the_same_as_torch_reads(tmp_path, new, protocol):
    model = saved_model()
    extra = {"epoch": 3, "args": argparse.Namespace(lr=0.1, size=(1, 2)), "best": np.float32(0.5), "cfg": {"layers": [1, 2], "name": "x"}}
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.ones(2))])
    path = tmp_path / "a.pth"
    saved = {"model": model, "optimizer": optimizer.state_dict(), "device": torch.device("cuda", 0), "dtype": torch.float16, **extra}
    torch.save(saved, path, _use_new_zipfile_serialization=new, pickle_protocol=protocol)
    theirs = torch.load(path, weights_only=False)["model"]
    with open_weights(path) as ours:
        assert list(ours) == list(theirs)
        for name, value in theirs.items():
            value = value.detach()
            assert ours.shapes()[name] == tuple(value.shape), name
            assert str(ours.dtypes()[name]) == str(value.dtype).removeprefix("torch."), name
            wide = value.double() if value.dtype == torch.bfloat16 else value
            np.testing.assert_array_equal(ours[name].astype(wide.numpy().dtype), wide.numpy(), err_msg=name)
        found = ours.extra
        assert found.pop("optimizer")["param_groups"][0]["betas"] == [0.9, 0.999]
        plain = {"device": "cuda:0", "dtype": "torch.float16", "epoch": 3, "best": 0.5, "cfg": {"layers": [1, 2], "name": "x"}}
        assert found == plain | {"args": {"lr": 0.1, "size": [1, 2]}}


def test_a_checkpoint_without_checksums(tmp_path):
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"w": torch.arange(3)}, tmp_path / "a.pt")
    finally:
        torch.serialization.set_crc32_options(before)
    assert open_weights(tmp_path / "a.pt")["w"].tolist() == [0, 1, 2]


def test_a_whole_pickled_model_is_refused(tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "a.pt")
    with pytest.raises(Exception, match=r"asks for 'torch.nn.modules.linear.Linear'"):
        open_weights(tmp_path / "a.pt")
