"""What the tests of a served page share."""

import socket

import pytest

from audiojax.api.making.maker_parts import open_maker
from tests.api.maker_folder import write_pipeline


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    """Folder of a narrow pipeline of random weights."""
    return write_pipeline(tmp_path_factory.mktemp("audioldm") / "pipeline")


@pytest.fixture(scope="module")
def maker(pipeline):
    return open_maker(pipeline, progress=False)


@pytest.fixture
def port():
    """A port of this machine that nobody listens on."""
    return free_port()


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.fixture(scope="module")
def address(maker):
    """Where the page of the maker is served."""
    pytest.importorskip("gradio")
    from audiojax.page.serving import served

    with served(maker, port=free_port()) as found:
        yield found
