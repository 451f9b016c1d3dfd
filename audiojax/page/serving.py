"""The page of a model, served on this machine: it asks nothing of the internet, and gives out no files but its own."""

import ipaddress
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from markupsafe import Markup

from audiojax.api.describing.captioning import Captioner
from audiojax.api.finding.search import Searcher
from audiojax.api.making.maker import Maker
from audiojax.errors import UsageError
from audiojax.files import shown
from audiojax.index.search import Index
from audiojax.page import describing, finding, making

MOST_BYTES = 500_000_000  # of a sound that is dropped
CSS = """
.hits {width: 100%}
.hits audio {width: 260px; height: 36px}
.hits img {height: 56px; width: 220px; border-radius: 4px}
.hits td {vertical-align: middle}
.hits th, .hits td {border-color: var(--border-color-primary) !important}
#picture img {width: 100%; height: 260px; object-fit: fill; margin-top: 28px}
"""


def import_gradio() -> Any:
    """gradio, which reports nothing home. UsageError where it is missing."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # is read while it is imported
    try:
        import gradio
    except ImportError as error:
        raise UsageError(f"gradio cannot be imported ({error.name} is missing): pip install 'audiojax[page]'") from error
    return gradio


def serve(model: Maker | Captioner | Searcher, index: Index | None = None, *, host: str, port: int, browser: bool) -> None:
    """Serves the page and says where on standard output, until Ctrl-C or SIGTERM end the process; arguments and errors as `served`.

    Args:
      browser: also open it in the browser of this machine.
    """
    if not is_loopback(host):
        print(f"--host {host}: anybody who reaches this machine over the network can use the page", file=sys.stderr)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # its files go then too
    try:
        with served(model, index, host=host, port=port, browser=browser) as address:
            print(f"{address} shows {shown(model.source)}; Ctrl-C ends it", flush=True)
            threading.Event().wait()
    except KeyboardInterrupt:
        print("\nThe page has ended.", flush=True)
        os._exit(0)  # a sound may still be in the making: XLA cannot be interrupted, and aborts under an interpreter that ends


@contextmanager
def served(
    model: Maker | Captioner | Searcher, index: Index | None = None, *, host: str = "127.0.0.1", port: int = 7860, browser: bool = False
) -> Iterator[str]:
    """Serves the page of a model within the context, and gives its address.

    Files lie in a temporary folder, which is gone afterwards.

    Args:
      index: that a searcher searches in.
      host: name or IPv4 address of this machine at which the page is served; a loopback address is reached from this machine alone.
      port: of it.

    Raises:
      UsageError: gradio is missing, or the address cannot be had.
    """
    with tempfile.TemporaryDirectory(prefix="audiojax-page-", ignore_cleanup_errors=True) as name, _own_variables(name, host):
        gr = import_gradio()
        page = build(gr, model, index, Path(name))
        try:
            _, address, _ = page.launch(
                share=False,
                quiet=True,
                inbrowser=browser,
                prevent_thread_lock=True,
                server_name=host,
                server_port=port,
                allowed_paths=[],
                max_file_size=MOST_BYTES,
                css=CSS,
                footer_links=[],
                run_history=False,
                enable_monitoring=False,
                ssr_mode=False,
                mcp_server=False,
                pwa=False,
            )
        except OSError as error:
            raise UsageError(f"{host}:{port} cannot be listened on: another program may have it; choose a --port, or a --host") from error
        try:
            yield address
        finally:
            page.close(verbose=False)


def build(gr: Any, model: Maker | Captioner | Searcher, index: Index | None, folder: Path) -> Any:
    """The page as gradio's Blocks, with the form for what the model does.

    Args:
      folder: where its files lie.
    """
    if isinstance(model, Maker):
        title, form = "Make sounds", making.lay_out
    elif isinstance(model, Captioner):
        title, form = "Describe sounds", describing.lay_out
    else:
        title, form = "Find sounds", lambda gr, searcher, folder: finding.lay_out(gr, searcher, index, folder)
    with gr.Blocks(title=f"audiojax: {title.lower()}", analytics_enabled=False) as page:
        gr.HTML(Markup("<h1>{}</h1><p>{}</p>").format(title, shown(model.source)))
        form(gr, model, folder)
    return page


def is_loopback(host: str) -> bool:
    """Whether the address is reached from this machine alone."""
    try:
        return ipaddress.IPv4Address(host).is_loopback
    except ValueError:
        return host == "localhost"


@contextmanager
def _own_variables(folder: str, host: str) -> Iterator[None]:
    """gradio's variables are the page's own: others could open folders, or the page to the internet. Those that there were come back.

    Nor does a proxy stand before the host: gradio asks the page whether it answers.
    """
    kinds, names = ("GRADIO_", "NO_PROXY", "no_proxy"), ("NO_PROXY", "no_proxy")
    before = {name: value for name, value in os.environ.items() if name.startswith(kinds)}
    for name in before:
        del os.environ[name]
    os.environ |= {"GRADIO_TEMP_DIR": folder, "GRADIO_EXAMPLES_CACHE": folder}
    os.environ |= {name: ",".join(filter(None, (before.get(name), host, "localhost"))) for name in names}
    try:
        yield
    finally:
        for name in [name for name in os.environ if name.startswith(kinds)]:
            del os.environ[name]
        os.environ |= before
