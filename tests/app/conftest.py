"""What tests of the command share."""

import pytest

from jaxstyle.app.report import plots
from jaxstyle.network import vgg_features


@pytest.fixture(scope="module")
def xla_convolutions(request):
    """Take XLA's convolutions, which compile in half the time of Winograd's: for modules that test neither.

    Modules that have shards, devices, failing lanes or the live report as their subject take those of users.
    """
    with pytest.MonkeyPatch.context() as patch:
        if request.config.getoption("--backend") == "auto":
            patch.setitem(vgg_features.make_features.__kwdefaults__, "backend", "xla")
        yield


@pytest.fixture(autouse=True, scope="module")
def no_plots(request):
    """Leave the plots out of reports, half a second each: the tests of the report have them."""
    with pytest.MonkeyPatch.context() as patch:
        if "report" not in request.path.parts:
            patch.setattr(plots, "draw_plane", lambda *_: None)
            patch.setattr(plots, "draw_lines", lambda *_: None)
        yield
